package inet

import (
	"testing"

	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"
)

// TestUnread: bytes that were given back come first, and count until they have been received again.
func TestUnread(t *testing.T) {
	n := newNet()
	for _, nearby := range []bool{true, false} {
		client, server := n.pair(t, nearby)
		before := shmem.Buffers.Used()
		server.Unread([]byte("second"))
		server.Unread([]byte("first "))
		if shmem.Buffers.Used() == before {
			t.Error("they do not count")
		}
		b := make([]byte, 9)
		got := ""
		for len(got) < 12 {
			n, err := server.Recv(b, &socket.Message{})
			if err != nil {
				t.Fatal(err)
			}
			got += string(b[:n])
		}
		if got != "first second" {
			t.Errorf("received %q", got)
		}
		if now := shmem.Buffers.Used(); now != before {
			t.Errorf("%d bytes count afterwards", now-before)
		}
		client.Release()
		server.Release()
	}
}
