package container

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"coffer/internal/hostcgroup"
	"coffer/internal/isolation"

	"golang.org/x/sys/unix"
)

// recordFile is the record's name in the container's directory.
const recordFile = "state.json"

// recordBefore is the record that the present one replaced. It serves to destroy
// a container whose record was damaged.
const recordBefore = recordFile + ".before"

// recordFormat is the version of the record's form that this program writes.
// It changes when an older program would misunderstand a record.
const recordFormat = 1

// maxRecord bounds what is read as a record, in bytes.
const maxRecord = 4 << 20

// record is what is kept of a container.
type record struct {
	// Format is recordFormat.
	Format    int             `json:"format"`
	ID        string          `json:"id"`
	Bundle    string          `json:"bundle"`
	Isolation isolation.Level `json:"isolation"`
	Intercept string          `json:"intercept,omitempty"`
	Created   time.Time       `json:"created"`
	// Creator is the process that makes, or made, the container.
	Creator isolation.PID `json:"creator"`
	// Complete is set once the container can be started.
	Complete bool `json:"complete"`
	// Init is the container's first process; none until it is there.
	Init isolation.PID `json:"init,omitzero"`
	// Cgroup is where the cgroup is, or will be.
	Cgroup *hostcgroup.State `json:"cgroup,omitempty"`
}

// readRecord reads a container's record. It fails with fs.ErrNotExist if there
// is none.
func readRecord(dir string) (*record, error) {
	data, err := readRecordFile(dir, recordFile)
	if err != nil {
		return nil, err
	}
	return parseRecord(data, filepath.Join(dir, recordFile))
}

// readRecordFile reads what stands in a record's place.
func readRecordFile(dir, name string) ([]byte, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("it has no record (%w): its creation was broken off", err)
	}
	if err != nil {
		return nil, fmt.Errorf("its record cannot be read: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return nil, fmt.Errorf("its record cannot be read: %w", err)
	}
	return data, nil
}

func parseRecord(data []byte, name string) (*record, error) {
	// What a newer program wrote may have another form altogether.
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("its record %s is damaged (%w)", name, err)
	}
	switch {
	case version.Format > recordFormat:
		return nil, fmt.Errorf("its record %s is in format %d, and this version of Coffer knows formats up to %d: use the newer one that wrote it", name, version.Format, recordFormat)
	case version.Format < 1:
		return nil, fmt.Errorf("its record %s is damaged (it has no format)", name)
	}
	r := new(record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("its record %s is damaged (%w)", name, err)
	}
	return r, nil
}

// save replaces the record as a whole, if it has changed.
func (c *Container) save() error {
	c.Format = recordFormat
	data, err := json.Marshal(&c.record)
	if err != nil {
		return fmt.Errorf("container %s: its record: %w", c.ID, err)
	}
	if bytes.Equal(data, c.saved) {
		return nil // each write waits for the disk
	}
	if err := c.keepBefore(); err != nil {
		return fmt.Errorf("container %s: its record: %w", c.ID, err)
	}
	if err := writeFile(filepath.Join(c.dir, recordFile), data, 0o600); err != nil {
		return fmt.Errorf("container %s: its record: %w", c.ID, err)
	}
	c.saved = data
	return nil
}

// keepBefore gives the present record its second name, which it keeps when it is
// replaced.
func (c *Container) keepBefore() error {
	now, before := filepath.Join(c.dir, recordFile), filepath.Join(c.dir, recordBefore)
	if _, err := os.Lstat(now); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.Remove(before); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Link(now, before)
}

// writeFile writes a file that is there as a whole or not at all, whoever is
// killed. It does not wait for the disk: after a crash of the host no container
// lives, and one whose record is lost is removed by force.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return replaceFile(path, temp, data, mode)
}

// replaceFile writes a file by way of one beside it that is not there yet.
func replaceFile(path, temp string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temp)
		}
	}()
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// salvage takes what can be understood of a container's records, though they may
// be damaged or newer.
func salvage(dir, id string) record {
	r := record{ID: id}
	for _, name := range []string{recordFile, recordBefore} {
		if data, err := readRecordFile(dir, name); err == nil {
			r.fill(data)
		}
	}
	return r
}

// fill takes from a record's bytes what is not known yet.
func (r *record) fill(data []byte) {
	var parts struct {
		Bundle json.RawMessage `json:"bundle"`
		Init   json.RawMessage `json:"init"`
		Cgroup json.RawMessage `json:"cgroup"`
	}
	if json.Unmarshal(data, &parts) != nil {
		return
	}
	// Each alone, since one of them may have changed its form.
	if r.Bundle == "" && json.Unmarshal(parts.Bundle, &r.Bundle) != nil {
		r.Bundle = ""
	}
	if r.Init.PID == 0 && json.Unmarshal(parts.Init, &r.Init) != nil {
		r.Init = isolation.PID{}
	}
	if r.Cgroup == nil && json.Unmarshal(parts.Cgroup, &r.Cgroup) != nil {
		r.Cgroup = nil
	}
}
