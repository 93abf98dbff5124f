package test

import (
	"os"
	"os/exec"
	"testing"
)

// fuseScript has real servers serve a directory (bindfs, libfuse 3) and a disk
// image (fuse2fs, libfuse 2), and real programs use them. begin waits until
// something is mounted. Natively it runs in a mount namespace of its own.
const fuseScript = `
cat >inner.sh <<'X'
begin() { for i in $(seq 600); do grep -q " $PWD/mnt fuse" /proc/mounts && return; sleep 0.1; done; echo "nothing was mounted"; exit 1; }
mkdir src mnt
bindfs -f --multithreaded src mnt & server=$!; begin
for j in 1 2 3 4; do ( mkdir mnt/$j; cd mnt/$j; for i in $(seq 15); do echo $i >a$i; mv a$i b$i; ln b$i c$i; cat c$i >/dev/null; rm b$i; mkdir d$i; done
	find . | wc -l ) & jobs="$jobs $!"; done; wait $jobs; rm -r mnt/[1-4]; ls mnt
seq 1000 >mnt/n; md5sum src/n mnt/n | cut -d' ' -f1; cp -r mnt/n mnt/m; mkdir mnt/d; mv mnt/m mnt/d/k
printf 'int main(void) { return 5; }\n' >mnt/a.c; (cd mnt && gcc -o a a.c && ./a; echo $?)
python3 -c "
import os, mmap
f = open('mnt/n', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); print(m[:4]); m.close()
os.symlink('n', 'mnt/l'); os.link('mnt/n', 'mnt/h'); print(os.stat('mnt/n').st_nlink, os.readlink('mnt/l'), sorted(os.listdir('mnt')))
os.chmod('mnt/h', 0o640); os.truncate('mnt/h', 10); print(oct(os.stat('src/n').st_mode), os.path.getsize('src/h'))
for i in range(300): open('mnt/d/%d' % i, 'w').close()
print(len(os.listdir('mnt/d')))"
tar cf t.tar -C mnt/d . && tar tf t.tar | wc -l; rm -r mnt/d; ls src; find mnt -type f | sort
(cd mnt; git init -q g 2>/dev/null && cd g && echo x >x && git add x && git -c user.name=a -c user.email=b commit -qm c && git status --short && git log --oneline | wc -l; git fsck)
umount mnt; echo "umount $?"; wait $server; echo "server $?"; ls mnt
truncate -s 8M img; mkfs.ext2 -q img; fuse2fs -f img mnt -o fakeroot >/dev/null 2>&1 & server=$!; begin
echo text >mnt/file; ls mnt; cat mnt/file
umount mnt; wait $server; echo "server $?"; debugfs -R 'cat file' img 2>/dev/null
X
own="unshare -m"; grep -q coffer /proc/version && own=
$own bash inner.sh`

// TestFUSE needs a host on which root may mount FUSE natively. Behind the process
// wall there is no /dev/fuse, which would be the host's.
func TestFUSE(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting natively needs root")
	}
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skipf("the host has no FUSE: %v", err)
	} else {
		f.Close()
	}
	if out, err := exec.Command("unshare", "-m", "true").CombinedOutput(); err != nil {
		t.Skipf("the host gives no mount namespace: %v %s", err, out)
	}
	program{name: "fuse", needs: []string{"bindfs", "fuse2fs", "mkfs.ext2", "debugfs", "gcc", "git", "python3"}, script: fuseScript}.testBehind(t, kernelWalls)
}
