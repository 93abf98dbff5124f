package test

import "testing"

// runtimes are programs of the languages whose runtimes ask most of a kernel:
// threads, collectors, child processes, event loops.
var runtimes = []program{
	{"node", []string{"node"}, `
cat >k.js <<'X'
process.on('message', m => process.send({ got: m }));
X
cat >n.js <<'X'
const { Worker, isMainThread, parentPort } = require('worker_threads'), cp = require('child_process'), fs = require('fs').promises;
async function main() {
  const sums = await Promise.all([1, 2, 3].map(() => new Promise((done, failed) => {
    const w = new Worker(__filename); w.on('message', done); w.on('error', failed); })));
  console.log('workers', sums.join());
  console.log('exec', cp.execSync('echo hi').toString().trim());
  const cat = cp.spawn('cat'); cat.stdin.end('through cat');
  for await (const d of cat.stdout) console.log(d.toString());
  try { cp.execSync('exit 3', { stdio: 'pipe' }); } catch (e) { console.log('status', e.status); }
  await fs.mkdir('d/e', { recursive: true });
  await Promise.all([...Array(50)].map((_, i) => fs.writeFile('d/' + i, 'x'.repeat(i))));
  console.log((await fs.readdir('d')).length, (await fs.stat('d/49')).size); await fs.rm('d', { recursive: true });
  const child = cp.fork('./k.js'); child.send({ a: 1 });
  child.on('message', m => { console.log('ipc', JSON.stringify(m)); child.disconnect(); });
  await new Promise(r => child.on('exit', r));
  const zlib = require('zlib'); console.log(zlib.gunzipSync(zlib.gzipSync('zip')).toString());
  console.log(require('crypto').createHash('sha256').update('a').digest('hex').slice(0, 8));
  process.on('SIGUSR2', () => { console.log('signal'); setTimeout(() => process.exit(4), 20); }); process.kill(process.pid, 'SIGUSR2');
}
if (isMainThread) main(); else { let s = 0; for (let i = 0; i < 3e6; i++) s += i % 7; parentPort.postMessage(s); }
X
node n.js; echo "status $?"`},
	{"java", []string{"java", "javac"}, `
cat >M.java <<'X'
import java.nio.file.*; import java.util.*; import java.util.concurrent.*;
public class M {
  public static void main(String[] args) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(6);
    List<Future<Long>> sums = new ArrayList<>();
    for (int k = 0; k < 12; k++) {
      final int extra = k;
      sums.add(pool.submit(() -> {
        long s = 0; List<byte[]> keep = new ArrayList<>();
        for (int i = 0; i < 40000; i++) { byte[] b = new byte[1024 + extra]; s += b.length; if (i % 100 == 0) keep.add(b); }
        return s + keep.size(); }));
    }
    long total = 0; for (Future<Long> f : sums) total += f.get(); pool.shutdown(); System.out.println("sum " + total);
    System.gc();
    System.out.println("exit " + new ProcessBuilder("sh", "-c", "echo child; exit 3").inheritIO().start().waitFor());
    Path d = Files.createTempDirectory(Path.of("."), "j"); Files.writeString(d.resolve("x"), "data"); System.out.println(Files.readString(d.resolve("x")));
    ConcurrentHashMap<Integer, Integer> m = new ConcurrentHashMap<>();
    Thread[] ts = new Thread[8]; for (int i = 0; i < 8; i++) { ts[i] = new Thread(() -> { for (int j = 0; j < 10000; j++) m.merge(j % 10, 1, Integer::sum); }); ts[i].start(); }
    for (Thread t : ts) t.join(); System.out.println(m);
    Object lock = new Object(); synchronized (lock) { lock.wait(10); } System.exit(5);
  }
}
X
javac -J-XX:TieredStopAtLevel=1 M.java && java -Xmx64m M; echo "status $?"`},
	{"python-processes", []string{"python3"}, `
cat >p.py <<'X'
import multiprocessing as mp, os, sqlite3, subprocess, tempfile, venv
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import shared_memory
def square(x): return x * x
if __name__ == "__main__":
    with mp.Pool(3) as p: print(p.map(square, range(10)))
    for m in ("spawn", "forkserver"):
        c = mp.get_context(m); q = c.Queue(); p = c.Process(target=q.put, args=(m,)); p.start(); print(q.get()); p.join(); print(p.exitcode)
    s = shared_memory.SharedMemory(create=True, size=100); s.buf[0] = 7
    t = shared_memory.SharedMemory(name=s.name); print(t.buf[0]); t.close(); s.close(); s.unlink()
    with ProcessPoolExecutor(2) as e: print(sum(e.map(square, range(100))))
    d = tempfile.mkdtemp(); venv.create(d, with_pip=False)
    print(subprocess.check_output([d + "/bin/python", "-c", "import sys; print(sys.prefix != sys.base_prefix)"]).decode().strip())
    # A write-ahead log from two processes.
    name = os.path.join(d, "db"); db = sqlite3.connect(name); db.execute("pragma journal_mode=wal"); db.execute("create table t(x)"); db.commit(); db.close()
    pid = os.fork()
    db = sqlite3.connect(name, timeout=60)
    for i in range(50):
        db.execute("insert into t values(?)", (i,)); db.commit()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0); print(db.execute("select count(*), sum(x) from t").fetchone())
X
python3 p.py; echo "status $?"`},
	// Its own cache makes it compile what it needs of the standard library.
	{"go-toolchain", []string{"go", "gofmt"}, `
mkdir -p m/words && cd m
export GOCACHE=$d/cache GOPATH=$d/path GOPROXY=off GOFLAGS=-mod=mod GOTOOLCHAIN=local GOTELEMETRY=off CGO_ENABLED=0 HOME=$d
cat >go.mod <<'Y'
module example.com/m

go 1.21
Y
cat >words/words.go <<'Y'
// Package words counts.
package words

import "strings"

// Count counts the words of a text.
func Count(s string) map[string]int {
	m := map[string]int{}
	for _, w := range strings.Fields(s) {
		m[w]++
	}
	return m
}
Y
cat >words/words_test.go <<'Y'
package words

import "testing"

func TestCount(t *testing.T) {
	t.Parallel()
	if n := Count("a b a")["a"]; n != 2 {
		t.Errorf("%d", n)
	}
}

func TestFails(t *testing.T) { t.Fatal("as it should") }

func BenchmarkCount(b *testing.B) {
	for i := 0; i < b.N; i++ {
		Count("a b a")
	}
}
Y
cat >main.go <<'Y'
package main

import (
	"fmt"
	"os"

	"example.com/m/words"
)

func main() {
	m := words.Count("go builds go")
	fmt.Println(m["go"], len(m))
	os.Exit(m["go"] + 1)
}
Y
go build -o prog . ; echo "build $?"; ./prog; echo "status $?"
go build -o prog . && echo cached; go vet ./... ; echo "vet $?"
go test -run Count -bench . -benchtime 10x ./words >out; echo "test $?"; grep -c '^ok' out
go test ./words | grep -E '^(---|FAIL|    words)' | sed 's/ (.*\|\t.*//' ; go list -deps . | grep -c example
sed -i 's/int {/int {{/' words/words.go; go build ./... 2>&1 | grep -c 'syntax error'; gofmt -l . 2>&1 | grep -c words.go`},
}

func TestRuntimes(t *testing.T) {
	for _, p := range runtimes {
		t.Run(p.name, func(t *testing.T) { p.test(t) })
	}
}
