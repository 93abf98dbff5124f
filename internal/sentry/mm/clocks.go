package mm

import "coffer/internal/sentry/platform"

// AskForClocks has the vDSO's clock_gettime(2) come to the sentry, for a process
// whose clocks are not the host's. It can be repeated.
func (m *MemoryManager) AskForClocks() error {
	if a, ok := m.as.(platform.ClockAsker); ok {
		return a.AskForClocks()
	}
	return nil
}
