package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/internal/container"
	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/pflag"
)

// TestChooseIsolation: who has a say in the wall, and in which order. What is
// not known is never passed over for the next one.
func TestChooseIsolation(t *testing.T) {
	for _, c := range []struct {
		flag, annotation, config, called string
		want                             isolation.Level
		err                              string
	}{
		{called: "coffer", want: "kernel"},
		{called: "/usr/bin/coffer-process", want: "process"},
		{called: "coffer-kernel", want: "kernel"},
		{called: "/usr/sbin/runc", want: "process"},
		{called: "crun", want: "process"},
		{called: "runsc", want: "kernel"},
		{called: "process", want: "process"},
		{called: "coffer-vm", want: "kernel"},
		{called: "runc", config: "kernel", want: "kernel"},
		{called: "runc", annotation: "kernel", config: "process", want: "kernel"},
		{called: "runsc", flag: "process", annotation: "kernel", config: "kernel", want: "process"},
		{called: "runc", flag: "vm", err: `--isolation: isolation "vm" is not known: it is process or kernel`},
		{called: "runc", annotation: "none", err: `annotation dev.coffer.isolation: isolation "none" is not known`},
	} {
		g := &globals{isolation: c.flag, config: config{Isolation: c.config}}
		spec := &specs.Spec{}
		if c.annotation != "" {
			spec.Annotations = map[string]string{container.AnnotationIsolation: c.annotation}
		}
		got, err := g.chooseIsolation(spec, c.called)
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

func TestConfigFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	if c, err := readConfig(path); err != nil || !reflect.DeepEqual(c, config{}) {
		t.Errorf("no file: %+v, %v", c, err)
	}
	for _, c := range []struct {
		text string
		want config
		err  string
	}{
		{text: "", want: config{}},
		{text: "isolation = \"process\" # as before\nroot = \"/srv/run\"\nintercept = \"ptrace\"\n", want: config{Isolation: "process", Root: "/srv/run", Intercept: "ptrace"}},
		{text: "isolaton = \"process\"", err: `the key "isolaton" is not known: there are isolation, root and intercept`},
		{text: "[kernel]\nx = 1", err: `the key "kernel" is not known`},
		{text: "isolation = \"vm\"", err: `isolation "vm" is not known`},
		{text: "\nisolation = 1", err: path + `: line 2 (last key "isolation"): that is no value for this key: a text stands in quotes`},
		{text: "isolation", err: path + ": line 1: unexpected"},
		{text: "[network]\ndirectory = \"x\"", err: `network.directory "x" is not an absolute path`},
		{text: "[network]\ncni_plugins = [\"/x\", \"x\"]", err: `network.cni_plugins "x" is not an absolute path`},
		{text: "[network]\ndeny = \"host\"", err: `: line 2 (last key "network.deny"): that is no value`},
		{text: "root = \"run\"", err: `root "run" is not an absolute path`},
		{text: "intercept = \"magic\"", err: `intercept "magic" is not known`},
		{text: "isolation = ", err: path},
		{text: "[network]\ndefault = \"none\"\ndeny = [\"host\", \"cni\"]", want: config{Network: networkConfig{Default: "none", Deny: []string{"host", "cni"}}}},
		{text: "[network]\ndefault = \"a b\"", err: "network.default"},
		{text: "[network]\ndeny = [\"-\"]", err: "network.deny"},
		{text: "[network]\ndeni = []", err: `the key "network.deni" is not known`},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readConfig(path)
		if c.err == "" && (err != nil || !reflect.DeepEqual(got, c.want)) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q: %+v, %v", c.text, got, err)
		}
	}
}

// run runs a command line that fails, and returns its exit code and message.
func run(t *testing.T, args ...string) (code int, message string) {
	t.Helper()
	root := newTree(false, args)
	err := root.Execute()
	ee, ok := err.(*exitError)
	if !ok {
		t.Fatalf("%q: %v, want an error with an exit code", args, err)
	}
	return ee.code, ee.message
}

// TestVerbErrors: exit codes and words of runc's, before the flags' place and
// after it.
func TestVerbErrors(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--root", store, "state", "c1"}, 1, "container does not exist"},
		{[]string{"state", "--root", store, "c1"}, 1, "container does not exist"},
		{[]string{"--debug", "--root", store, "start", "c1"}, 1, "container does not exist"},
		{[]string{"--root", store, "exec", "c1", "ls", "-l"}, 255, "container does not exist"},
		{[]string{"--root", store, "kill", "c1", "BOGUS"}, 1, `unknown signal "BOGUS"`},
		{[]string{"--root", store, "kill", "c1", "KILL"}, 1, "container does not exist"},
		{[]string{"--root", store, "delete", "c1"}, 1, "container does not exist"},
		{[]string{"--root", store, "state"}, 1, `"state" requires exactly 1 argument(s), and 0 are given`},
		{[]string{"--root", store, "state", "../c1"}, 1, "invalid container ID format"},
		{[]string{"--root", store, "list", "--format", "xml"}, 1, "invalid format option"},
		{[]string{"--root", store, "events", "--interval", "0s", "c1"}, 1, "duration interval must be greater than 0"},
		{[]string{"--root", store, "start", "--bogus", "c1"}, 1, "unknown flag: --bogus"},
		{[]string{"--root", store, "create", "--bundle", "/no/such", "c1"}, 1, "no such file or directory: name its directory with --bundle"},
		{[]string{"--root", store, "create", "--bundle", file, "c1"}, 1, "is not a directory"},
		{[]string{"--root", store, "create", "--bundle", t.TempDir(), "c1"}, 1, "JSON specification file config.json not found"},
		{[]string{"--rootless", "perhaps", "list"}, 1, `--rootless "perhaps" is not known`},
		{[]string{"--isolation", "foo", "list"}, 1, `--isolation: isolation "foo" is not known: it is process or kernel`},
		{[]string{"state", "--intercept", "foo", "c1"}, 1, `--intercept "foo" is not known`},
		{[]string{"--log-format", "xml", "list"}, 1, `--log-format "xml" is not known`},
		{[]string{"--log", "/no/such/log", "list"}, 1, "--log /no/such/log: no such file or directory: make its directory first"},
		// exec has the codes below 255 for its programs.
		{[]string{"exec", "--bogus", "c1", "ls"}, 255, "unknown flag: --bogus (see 'coffer exec --help')"},
		{[]string{"exec", "--additional-gids", "-1", "c1", "ls"}, 255, `--additional-gids "-1" is not possible: it is a number from 0 on`},
		{[]string{"exec", "--log-format", "xml", "c1", "ls"}, 255, `--log-format "xml" is not known`},
		{[]string{"--root", store, "exec"}, 255, `"exec" requires a minimum of 1 argument(s)`},
		{[]string{"events", "--interval", "5", "c1"}, 1, `--interval "5" is not possible: it is a number with its unit`},
		{[]string{"run", "--preserve-fds", "x", "c1"}, 1, `--preserve-fds "x" is not possible: it is a whole number`},
		{[]string{"kill", "-9", "c1"}, 1, "a signal follows the ID"},
		{[]string{"spec", "--bundle", "/no/such"}, 1, "/no/such/config.json: no such file or directory: make its directory first"},
		{[]string{"run", "--keep=maybe", "c1"}, 1, `--keep "maybe" is not possible: it is true or false (see 'coffer run --help')`},
	} {
		if code, message := run(t, c.args...); code != c.code || !strings.Contains(message, c.want) {
			t.Errorf("%q: %d %q, want %d and %q", c.args, code, message, c.code, c.want)
		}
	}
}

// TestLog: errors go to the log in runc's form, which engines read.
func TestLog(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	if code, message := run(t, "--root", filepath.Join(dir, "store"), "--log", path, "--log-format", "json", "state", "c1"); code != 1 || message == "" {
		t.Errorf("%d %q", code, message)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var line struct{ Level, Msg, Time string }
	if err := json.Unmarshal(b, &line); err != nil || line.Level != "error" || !strings.HasPrefix(line.Msg, "container does not exist") {
		t.Errorf("%s: %+v, %v", b, line, err)
	}
	if _, err := time.Parse(time.RFC3339, line.Time); err != nil {
		t.Error(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	run(t, "--root", dir, "--log", path, "state", "c1", "c2")
	if b, _ := os.ReadFile(path); !strings.Contains(string(b), `level=error msg="\"state\" requires exactly 1`) {
		t.Errorf("as text: %s", b)
	}
}

func TestSpecIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	root := newTree(false, []string{"spec", "--bundle", dir, "--rootless"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	var spec specs.Spec
	if err != nil || json.Unmarshal(b, &spec) != nil || len(spec.Linux.UIDMappings) != 1 {
		t.Errorf("%s, %v", b, err)
	}
	if code, message := run(t, "spec", "--bundle", dir); code != 1 || !strings.Contains(message, "exists. Remove it first") {
		t.Errorf("%d %q", code, message)
	}
}

func TestExecProcess(t *testing.T) {
	given := func(names ...string) func(string) bool {
		return func(n string) bool { return slices.Contains(names, n) }
	}
	base := func() *specs.Process {
		return &specs.Process{
			Args: []string{"init"}, Env: []string{"A=1"}, Cwd: "/home", ApparmorProfile: "mine", NoNewPrivileges: true,
			User:         specs.User{UID: 5, GID: 6, AdditionalGids: []uint32{7}},
			Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}},
		}
	}
	inherited := base()
	f := &execFlags{
		env: []string{"B=2"}, tty: true, cwd: "/tmp", user: "8:9", additionalGIDs: []uint{10}, capabilities: []string{"CAP_KILL"},
		noNewPrivs: false, apparmor: "", given: given("no-new-privs"),
	}
	p, err := f.change(inherited, []string{"ls", "-l"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Args, []string{"ls", "-l"}) || !slices.Equal(p.Env, []string{"A=1", "B=2"}) || !p.Terminal || p.Cwd != "/tmp" || p.User.UID != 8 || p.User.GID != 9 ||
		!slices.Equal(p.User.AdditionalGids, []uint32{7, 10}) || p.NoNewPrivileges || p.ApparmorProfile != "mine" ||
		!slices.Equal(p.Capabilities.Bounding, []string{"CAP_CHOWN", "CAP_KILL"}) || !slices.Equal(p.Capabilities.Effective, []string{"CAP_KILL"}) {
		t.Errorf("%+v", p)
	}
	if want := base(); !slices.Equal(inherited.Env, want.Env) || !slices.Equal(inherited.Capabilities.Bounding, want.Capabilities.Bounding) || inherited.User.UID != 5 {
		t.Errorf("the container's own process was changed: %+v", inherited)
	}
	for _, c := range []struct {
		f    execFlags
		args []string
		want string
	}{
		{execFlags{user: "web"}, []string{"ls"}, "names are not known here"},
		{execFlags{user: "1:web"}, []string{"ls"}, `"web" is not the number`},
		{execFlags{user: "4294967295"}, []string{"ls"}, "the largest number is"},
		{execFlags{cwd: "tmp"}, []string{"ls"}, `cwd "tmp" is not an absolute path`},
		{execFlags{env: []string{"B"}}, []string{"ls"}, "has no '='"},
		{execFlags{}, nil, "process args cannot be empty"},
	} {
		c.f.given = given()
		if _, err := c.f.change(base(), c.args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want one with %q", c.f, err, c.want)
		}
	}
}

func TestUpdateFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", `{}`},
		{"--memory=64M --memory-swap=-1 --memory-reservation=1k", `{"memory":{"limit":67108864,"reservation":1024,"swap":-1}}`},
		{"--cpu-quota=-1 --cpu-period=100000 --cpu-share=512 --cpuset-cpus=0-1", `{"cpu":{"shares":512,"quota":-1,"period":100000,"cpus":"0-1"}}`},
		{"--pids-limit=10 --blkio-weight=100", `{"pids":{"limit":10},"blockIO":{"weight":100}}`},
		{"--pids-limit=0", `{"pids":{"limit":0}}`},
		{"--memory=lots", "invalid value for memory: invalid size: 'lots'"},
		{"--blkio-weight=65536", "invalid value for blkio-weight"},
		{"--cpu-period=-1", "invalid value for cpu-period"},
	} {
		fl := pflag.NewFlagSet("", pflag.ContinueOnError)
		words := make([]string, len(limits))
		for i, l := range limits {
			fl.StringVar(&words[i], l.flag, "", "")
		}
		if err := fl.Parse(strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		var r specs.LinuxResources
		err := flagResources(fl, words, &r)
		got, _ := json.Marshal(&r)
		if strings.HasPrefix(c.want, "{") && (err != nil || string(got) != c.want) || !strings.HasPrefix(c.want, "{") && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %s, %v; want %s", c.args, got, err, c.want)
		}
	}
	for text, want := range map[string]string{
		`{"memory": {"limit": 5}}`: "", `{"memroy": {}}`: "memroy", `{"memory": {"limit": "5"}}`: "memory.limit has a JSON string", ``: "is empty",
		`{"memory": {}} more`: "is not JSON", "\ufeff{}": "byte order mark",
	} {
		err := readResources("-", strings.NewReader(text), &specs.LinuxResources{})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want one with %q", text, err, want)
		}
	}
}

func TestPassOn(t *testing.T) {
	p := &specs.Process{}
	if files, err := passOn(0, p); err != nil || len(files) != 0 || len(p.Env) != 0 {
		t.Errorf("%v, %v, %v", files, err, p.Env)
	}
	for _, n := range []int{-1, maxExtra + 1} {
		if _, err := passOn(n, p); err == nil {
			t.Errorf("--preserve-fds %d was taken", n)
		}
	}
	// Go's own descriptors are not for containers.
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := passOn(int(f.Fd())-firstExtra+1, p); err == nil || !strings.Contains(err.Error(), "is not open: check --preserve-fds") {
		t.Errorf("a descriptor of this program's own: %v", err)
	}
}

func TestListTable(t *testing.T) {
	var b bytes.Buffer
	created := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	if err := printStates(&b, []*container.State{{ID: "c1", PID: 12, Status: "running", Bundle: "/b", Created: created, Owner: "root", Isolation: "kernel"}}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if !slices.Equal(strings.Fields(lines[0]), []string{"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER", "ISOLATION"}) ||
		!slices.Equal(strings.Fields(lines[1]), []string{"c1", "12", "running", "/b", "2026-01-02T03:04:05.000000006Z", "root", "kernel"}) {
		t.Error(b.String())
	}
}

// TestDenyHostNetwork: what the administrator refuses, a spec does not get either.
func TestDenyHostNetwork(t *testing.T) {
	with := func(list ...specs.LinuxNamespace) *specs.Spec {
		return &specs.Spec{Linux: &specs.Linux{Namespaces: list}}
	}
	own := specs.LinuxNamespace{Type: specs.NetworkNamespace}
	named := specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "/proc/self/ns/net"}
	for _, test := range []struct {
		name    string
		spec    *specs.Spec
		refused bool
	}{
		{"one of its own", with(own), false},
		{"none", with(), true},
		{"no Linux", new(specs.Spec), true},
		{"the caller's", with(named), true},
	} {
		denies, permits := networkConfig{Deny: []string{"host"}}, networkConfig{Deny: []string{"bridge"}}
		if err := denies.permitSpec(test.spec); (err != nil) != test.refused {
			t.Errorf("%s: %v", test.name, err)
		}
		if err := permits.permitSpec(test.spec); err != nil {
			t.Errorf("%s, with another network denied: %v", test.name, err)
		}
	}
}
