package identity

import (
	"errors"
	"fmt"

	"coffer/internal/oci/linuxname"

	"golang.org/x/sys/unix"
)

// scheduling is what sched_setattr(2) takes for process.scheduler; nil if there
// is none.
func (s *Settings) scheduling() (*unix.SchedAttr, error) {
	c := s.Process.Scheduler
	if c == nil {
		return nil, nil
	}
	policy, ok := linuxname.Policy(string(c.Policy))
	if !ok {
		return nil, fmt.Errorf("process.scheduler.policy is %q, which is no policy", c.Policy)
	}
	attr := &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: uint32(policy), Nice: c.Nice, Priority: uint32(c.Priority),
		Runtime: c.Runtime, Deadline: c.Deadline, Period: c.Period,
	}
	for i, name := range c.Flags {
		flag, ok := linuxname.SchedulerFlag(string(name))
		if !ok {
			return nil, fmt.Errorf("process.scheduler.flags[%d] is %q, which is no flag of the scheduler", i, name)
		}
		attr.Flags |= flag
	}
	if c.Nice < -20 || c.Nice > 19 {
		return nil, fmt.Errorf("process.scheduler.nice is %d; it must be between -20 and 19", c.Nice)
	}
	switch attr.Policy {
	case unix.SCHED_FIFO, unix.SCHED_RR:
		if c.Priority < 1 || c.Priority > 99 {
			return nil, fmt.Errorf("process.scheduler.priority is %d; with %s it must be between 1 and 99", c.Priority, c.Policy)
		}
	case unix.SCHED_NORMAL, unix.SCHED_BATCH, unix.SCHED_IDLE, unix.SCHED_DEADLINE:
		if c.Priority != 0 {
			return nil, fmt.Errorf("process.scheduler.priority is %d; %s has no priorities, so leave it out", c.Priority, c.Policy)
		}
	default:
		return nil, fmt.Errorf("process.scheduler.policy is %s, a policy that Linux never got; choose another one", c.Policy)
	}
	deadline := c.Runtime != 0 || c.Deadline != 0 || c.Period != 0
	if attr.Policy == unix.SCHED_DEADLINE {
		// sched(7): runtime <= deadline <= period, where a period of 0 is
		// the deadline.
		if c.Runtime == 0 || c.Runtime > c.Deadline || c.Period != 0 && c.Deadline > c.Period {
			return nil, fmt.Errorf("process.scheduler: with %s runtime (%d ns), deadline (%d ns) and period (%d ns) must rise in this order, from above 0", c.Policy, c.Runtime, c.Deadline, c.Period)
		}
	} else if deadline {
		return nil, fmt.Errorf("process.scheduler: runtime, deadline and period are for SCHED_DEADLINE only; leave them out with %s", c.Policy)
	}
	return attr, nil
}

func (s *Settings) checkScheduler() error {
	_, err := s.scheduling()
	return err
}

// setScheduler sets the scheduling of process pid.
func (s *Settings) setScheduler(pid int) error {
	attr, err := s.scheduling()
	if attr == nil || err != nil {
		return err
	}
	err = unix.SchedSetAttr(pid, attr, 0)
	switch {
	case errors.Is(err, unix.EPERM):
		err = fmt.Errorf("%w: this takes CAP_SYS_NICE, or, on cgroup v1, real-time processor time of the container's cgroup (linux.resources.cpu.realtimeRuntime)", err)
	case errors.Is(err, unix.EBUSY):
		err = fmt.Errorf("%w: the host cannot promise so much processor time; ask for less", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		err = fmt.Errorf("%w: this kernel does not take these values or flags", err)
	}
	if err != nil {
		return fmt.Errorf("setting process.scheduler (%s): %w", s.Process.Scheduler.Policy, err)
	}
	return nil
}

// processWho is IOPRIO_WHO_PROCESS of ioprio_set(2).
const processWho = 1

func (s *Settings) checkIOPriority() error {
	p := s.Process.IOPriority
	if p == nil {
		return nil
	}
	if _, err := linuxname.IOPriority(string(p.Class), p.Priority); err != nil {
		return fmt.Errorf("process.ioPriority: %w", err)
	}
	return nil
}

// setIOPriority sets the I/O priority of process pid.
func (s *Settings) setIOPriority(pid int) error {
	p := s.Process.IOPriority
	if p == nil {
		return nil
	}
	prio, err := linuxname.IOPriority(string(p.Class), p.Priority)
	if err == nil {
		if _, _, errno := unix.RawSyscall(unix.SYS_IOPRIO_SET, processWho, uintptr(pid), uintptr(prio)); errno == unix.EPERM {
			err = fmt.Errorf("%w: this class takes CAP_SYS_ADMIN or CAP_SYS_NICE", errno)
		} else if errno != 0 {
			err = errno
		}
	}
	if err != nil {
		return fmt.Errorf("setting process.ioPriority to %s, %d: %w", p.Class, p.Priority, err)
	}
	return nil
}
