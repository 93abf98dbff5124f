package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"coffer/internal/container"
	"coffer/internal/namedfile"
	"coffer/internal/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// limits are the flags of `coffer update`, each with the field of
// linux.resources that it sets. They hold words so that a flag that was not
// given is told from one that is 0.
var limits = []struct {
	flag, usage string
	set         func(r *specs.LinuxResources, word string) error
}{
	{"blkio-weight", "weight of block I/O, 10 to 1000", func(r *specs.LinuxResources, w string) error {
		return number16(w, &blockIO(r).Weight)
	}},
	{"cpu-period", "length of the period in which CPU time is limited, in microseconds", func(r *specs.LinuxResources, w string) error {
		return number64(w, &cpu(r).Period)
	}},
	{"cpu-quota", "CPU time in each period, in microseconds; -1 for no limit", func(r *specs.LinuxResources, w string) error {
		return signed64(w, &cpu(r).Quota)
	}},
	{"cpu-burst", "unused CPU time that may be kept for later, in microseconds", func(r *specs.LinuxResources, w string) error {
		return number64(w, &cpu(r).Burst)
	}},
	{"cpu-share", "share of CPU time beside other containers, 2 to 262144", func(r *specs.LinuxResources, w string) error {
		return number64(w, &cpu(r).Shares)
	}},
	{"cpu-rt-period", "length of the period in which real-time CPU time is limited, in microseconds", func(r *specs.LinuxResources, w string) error {
		return number64(w, &cpu(r).RealtimePeriod)
	}},
	{"cpu-rt-runtime", "real-time CPU time in each period, in microseconds", func(r *specs.LinuxResources, w string) error {
		return signed64(w, &cpu(r).RealtimeRuntime)
	}},
	{"cpu-idle", "1 to run only when nobody else wants to (SCHED_IDLE), 0 otherwise", func(r *specs.LinuxResources, w string) error {
		return signed64(w, &cpu(r).Idle)
	}},
	{"cpuset-cpus", "processors to use, such as 0-2,7", func(r *specs.LinuxResources, w string) error {
		cpu(r).Cpus = w
		return nil
	}},
	{"cpuset-mems", "memory nodes to use", func(r *specs.LinuxResources, w string) error {
		cpu(r).Mems = w
		return nil
	}},
	{"memory", "memory limit, such as 512M; -1 for none", func(r *specs.LinuxResources, w string) error {
		return bytes64(w, &memory(r).Limit)
	}},
	{"memory-reservation", "memory below which nothing is taken away", func(r *specs.LinuxResources, w string) error {
		return bytes64(w, &memory(r).Reservation)
	}},
	{"memory-swap", "limit of memory and swap together; -1 for none", func(r *specs.LinuxResources, w string) error {
		return bytes64(w, &memory(r).Swap)
	}},
	{"pids-limit", "how many processes there may be; -1 for no limit", func(r *specs.LinuxResources, w string) error {
		if r.Pids == nil {
			r.Pids = &specs.LinuxPids{}
		}
		return signed64(w, &r.Pids.Limit)
	}},
}

func cpu(r *specs.LinuxResources) *specs.LinuxCPU {
	if r.CPU == nil {
		r.CPU = &specs.LinuxCPU{}
	}
	return r.CPU
}

func memory(r *specs.LinuxResources) *specs.LinuxMemory {
	if r.Memory == nil {
		r.Memory = &specs.LinuxMemory{}
	}
	return r.Memory
}

func blockIO(r *specs.LinuxResources) *specs.LinuxBlockIO {
	if r.BlockIO == nil {
		r.BlockIO = &specs.LinuxBlockIO{}
	}
	return r.BlockIO
}

func newUpdate(g *globals) *cobra.Command {
	var file string
	words := make([]string, len(limits))
	c := &cobra.Command{
		Use:   "update [flags] ID",
		Short: "Change the limits of a container",
		Long: `Change limits of a container, by flags or by JSON as linux.resources in a
config.json has it (--resources). What is not named stays as it is.`,
		Example: `  coffer update --memory 512M --pids-limit 100 web1
  echo '{"cpu": {"quota": 50000}}' | coffer update --resources - web1`,
		Args:              exactly(1),
		ValidArgsFunction: g.completeID,
	}
	fl := c.Flags()
	fl.StringVarP(&file, "resources", "r", "", "read the limits from this JSON file, or from standard input for -; other flags are ignored then")
	for i, l := range limits {
		fl.StringVar(&words[i], l.flag, "", l.usage)
	}
	return g.storeVerb(c, exitVerb, func(s *container.Store, args []string) error {
		var r specs.LinuxResources
		var err error
		if file != "" {
			err = readResources(file, c.InOrStdin(), &r)
		} else {
			err = flagResources(fl, words, &r)
		}
		if err != nil {
			return err
		}
		return s.Update(args[0], &r)
	})
}

func flagResources(fl *pflag.FlagSet, words []string, r *specs.LinuxResources) error {
	for i, l := range limits {
		if !fl.Changed(l.flag) {
			continue
		}
		if err := l.set(r, words[i]); err != nil {
			return fmt.Errorf("invalid value for %s: %w", l.flag, err)
		}
	}
	return nil
}

// maxResources bounds what --resources reads, in bytes.
const maxResources = 1 << 20

func readResources(file string, stdin io.Reader, r *specs.LinuxResources) error {
	in, name := stdin, "standard input"
	if file != "-" {
		f, err := namedfile.Open(file, os.O_RDONLY, 0)
		if err != nil {
			return fmt.Errorf("--resources %w", err)
		}
		defer f.Close()
		in, name = f, file
	}
	data, err := io.ReadAll(io.LimitReader(in, maxResources))
	if err != nil {
		return fmt.Errorf("--resources: reading %s: %w", name, namedfile.Explain(err, false))
	}
	if err := oci.DecodeJSON(data, r, name); err != nil {
		return fmt.Errorf("--resources: %w", err)
	}
	known := json.NewDecoder(bytes.NewReader(data))
	known.DisallowUnknownFields()
	if err := known.Decode(new(specs.LinuxResources)); err != nil {
		return fmt.Errorf("--resources: %s is not as linux.resources in a config.json: %w", name, err)
	}
	return nil
}

func number64(word string, to **uint64) error {
	n, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a number from 0 on", word)
	}
	*to = &n
	return nil
}

func number16(word string, to **uint16) error {
	n, err := strconv.ParseUint(word, 10, 16)
	if err != nil {
		return fmt.Errorf("%q is not a number from 0 to 65535", word)
	}
	small := uint16(n)
	*to = &small
	return nil
}

func signed64(word string, to **int64) error {
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a number", word)
	}
	*to = &n
	return nil
}

// bytes64 reads a size: a number of bytes, with a unit of powers of 1024
// perhaps, or -1.
func bytes64(word string, to **int64) error {
	if word == "-1" {
		return signed64(word, to)
	}
	n, err := parseSize(word)
	if err != nil {
		return err
	}
	*to = &n
	return nil
}

var errSize = errors.New("it is a number of bytes, or for example 512M or 2G")

// parseSize reads a number of bytes, with K, M, G or T perhaps, and B or iB
// after it.
func parseSize(s string) (int64, error) {
	digits, shift := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "I"), 0
	if digits != "" {
		if i := strings.IndexByte("KMGT", digits[len(digits)-1]); i >= 0 {
			digits, shift = digits[:len(digits)-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 62)
	if err != nil || n > 1<<62>>shift {
		return 0, fmt.Errorf("invalid size: '%s': %w", s, errSize)
	}
	return int64(n << shift), nil
}
