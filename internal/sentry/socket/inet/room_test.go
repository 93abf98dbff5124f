package inet

import (
	"testing"
	"time"
)

// longWay is what a sender has that doubles its window in each round trip, over a way that takes so many bytes a second
// and holds what does not fit in a queue.
type longWay struct {
	trip time.Duration
	rate int64
}

// flow has a room follow what comes, or none, and returns how much has come, and the window, after each round trip.
func (w longWay) flow(r *room, trips int) (total, windows []int64) {
	const step = time.Millisecond
	perTrip := int(w.trip / step)
	window, cwnd, under, queue, came := int64(64<<10), int64(10*roomSegment), int64(10*roomSegment), int64(0), int64(0)
	if r == nil {
		window = 1 << 40
	}
	arrivals := make([]int64, (trips+1)*perTrip)
	arrivals[0] = under
	for i := range trips * perTrip {
		queue += arrivals[i]
		n := min(queue, w.rate*int64(step)/int64(time.Second))
		queue -= n
		came += n
		if now := time.Duration(i+1) * step; r != nil && r.due(now) {
			window = max(window, r.window(now, came))
		}
		under -= n
		cwnd += n
		sent := max(min(cwnd, window)-under, 0)
		under += sent
		arrivals[i+perTrip] += sent
		if (i+1)%perTrip == 0 {
			total, windows = append(total, came), append(windows, window)
		}
	}
	return total, windows
}

// TestRoom: a window hardly holds back a slow start, and becomes no larger than a way and half as much in a queue hold,
// or what is cheap.
func TestRoom(t *testing.T) {
	for _, w := range []longWay{{50 * time.Millisecond, 25e6}, {20 * time.Millisecond, 500e6}, {200 * time.Millisecond, 1e6}} {
		const trips = 60
		held := int64(w.trip) * w.rate / int64(time.Second)
		free, _ := w.flow(nil, trips)
		r := newRoom(nil, w.trip)
		total, windows := w.flow(&r, trips)
		for i := range total {
			if free[i] < roomCheap && total[i] < free[i]*4/5 {
				t.Errorf("%v: after %d round trips %d bytes have come, of %d without a window", w, i+1, total[i], free[i])
			}
		}
		if got, want := total[trips-1], free[trips-1]*9/10; got < want {
			t.Errorf("%v: %d bytes have come, want %d", w, got, want)
		}
		most := max(held*3/2, min(held*9/4+roomFirst, roomCheap)) + trips/2*roomSegment
		if last := windows[trips-1]; last < most*9/10 || last > most*11/10 {
			t.Errorf("%v: the windows are %d, want %d at the end", w, windows, most)
		}
	}
}

// TestRoomHole has all that waited for a segment that was lost come at once.
func TestRoomHole(t *testing.T) {
	w := longWay{50 * time.Millisecond, 25e6}
	r := newRoom(nil, w.trip)
	_, windows := w.flow(&r, 20)
	before := windows[len(windows)-1]
	last := *r.mark(1)
	for i := range 2 * roomSteps {
		bytes := last.bytes
		if i >= roomSteps {
			bytes += 2 * w.rate * int64(w.trip) / int64(time.Second)
		}
		if got := r.window(last.at+time.Duration(i+1)*w.trip/roomSteps, bytes); got > before+2*roomSegment {
			t.Errorf("the window was %d and is %d", before, got)
		}
	}
}

// TestRoomTrickle has little come for long.
func TestRoomTrickle(t *testing.T) {
	r := newRoom(nil, 4*time.Millisecond)
	for i := range int64(100000) {
		if got := r.window(time.Duration(i+1)*r.trip/roomSteps, 100*(i+1)); got > 2*roomFirst {
			t.Fatalf("%d bytes have come, 100 at a time, and the window is %d", 100*(i+1), got)
		}
	}
}

// TestRoomBelied: a handshake that took long does not make a way long over which window after window comes at once.
func TestRoomBelied(t *testing.T) {
	const trip, window = 8 * time.Millisecond, 64 << 10
	for _, test := range []struct {
		each int64 // bytes in an eighth of the round trip
		want bool
	}{{window / 8, false}, {window / 4, false}, {window, true}} {
		r := newRoom(nil, trip)
		for i := range int64(roomSteps) {
			r.window(time.Duration(i+1)*trip/roomSteps, (i+1)*test.each)
		}
		if got := r.belied(window); got != test.want {
			t.Errorf("%d bytes in each eighth of a round trip: %t", test.each, got)
		}
	}
}
