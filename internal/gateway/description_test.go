package gateway

import (
	"net/netip"
	"reflect"
	"testing"

	"coffer/internal/egress"
	"coffer/internal/handover"
)

// TestDescriptionIsHandedOver has all that the helper is told arrive.
func TestDescriptionIsHandedOver(t *testing.T) {
	rules, err := egress.Parse("*.example.com:443, 10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddr("fe80::1%2")
	want := description{
		Link: 5, Questions: 6, Listeners: []listener{{FD: 7, UDP: true, Port: 53}}, DNS: []netip.AddrPort{netip.AddrPortFrom(address, 53)},
		Hosts: []Host{{"db", address}}, Egress: rules, EgressLog: 8, Addresses: []int{9, 10}, Detached: true,
	}
	data, err := handover.Encode(&want)
	if err != nil {
		t.Fatal(err)
	}
	var got description
	if err := handover.Decode(data, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: %+v became %+v", err, want, got)
	}
}
