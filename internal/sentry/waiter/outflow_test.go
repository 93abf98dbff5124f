package waiter

import "testing"

// TestMeanwhile: others do work while a call has much to send, and only then.
func TestMeanwhile(t *testing.T) {
	helper := FromHost.helper.Load()
	defer FromHost.helper.Store(helper)
	asked := 0
	FromHost.HelpedBy(func(func()) bool {
		asked++
		return true
	})
	var o Outflow
	for calls := range 3 {
		if did := o.Meanwhile(func() {}); did != (calls > 0) || asked != calls {
			t.Errorf("%d calls: does %v, asked %d times", calls, did, asked)
		}
		o.Begin()
	}
	for range 3 {
		o.End()
	}
	if o.Meanwhile(func() {}) {
		t.Error("others do work where nothing is sent")
	}
	o.Begin()
	FromHost.helper.Store(nil)
	if o.Meanwhile(func() {}) {
		t.Error("somebody does work where nobody helps")
	}
}
