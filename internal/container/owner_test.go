package container

import (
	"os"
	"path/filepath"
	"testing"

	"coffer/internal/isolation"
)

// TestForeignDirectories: what others may have written is not taken for records
// of containers, by no command.
func TestForeignDirectories(t *testing.T) {
	const id, stranger = "c", 12345
	for name, spoil := range map[string]func(t *testing.T, root string){
		"root of another user": func(t *testing.T, root string) { chown(t, root, stranger) },
		"root that all write":  func(t *testing.T, root string) { chmod(t, root, 0o777) },
		"sticky root":          func(t *testing.T, root string) { chmod(t, root, 0o777|os.ModeSticky) },
		"container of another user": func(t *testing.T, root string) {
			chown(t, filepath.Join(root, id), stranger)
		},
		"container that all write": func(t *testing.T, root string) {
			chmod(t, filepath.Join(root, id), 0o777)
		},
		"link of another user": func(t *testing.T, root string) {
			dir := filepath.Join(root, id)
			if err := os.Rename(dir, dir+"-elsewhere"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(dir+"-elsewhere", dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Lchown(dir, stranger, stranger); err != nil {
				t.Skip(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			dir := filepath.Join(root, id)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			record := `{"format":1,"id":"c","isolation":"process","complete":true}`
			if err := os.WriteFile(filepath.Join(dir, recordFile), []byte(record), 0o600); err != nil {
				t.Fatal(err)
			}
			s := storeAt(root, &fakeWall{})
			spoil(t, root)
			_, err := s.State(id)
			wantError(t, err, "cannot be trusted")
			wantError(t, s.Start(id), "cannot be trusted")
			wantError(t, s.Delete(id, true), "cannot be trusted")
			_, err = s.Exec(id, &ExecRequest{})
			wantError(t, err, "cannot be trusted")
			_, err = s.Create(&CreateRequest{ID: id, Isolation: isolation.LevelProcess})
			wantError(t, err, "cannot be trusted")
			if _, err := os.Lstat(filepath.Join(dir, recordFile)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestForeignRootMadeMeanwhile: a root that another user makes between the look at
// it and its use is not used.
func TestForeignRootMadeMeanwhile(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	s := storeAt(root, &fakeWall{})
	dir, err := s.directory("c")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root, 0o777); err != nil {
		t.Fatal(err)
	}
	chown(t, root, 12345)
	c := &Container{dir: dir, store: s, record: record{ID: "c"}}
	wantError(t, c.claim(nil), "cannot be trusted")
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
}

func chown(t *testing.T, path string, uid int) {
	t.Helper()
	if err := os.Chown(path, uid, uid); err != nil {
		t.Skip("making another user the owner of a file is not permitted here: ", err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
