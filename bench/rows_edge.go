package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// Goals of what crosses a sandbox's edge. They are about the wall that takes an interface
// over, as the peer does. What coffer do has by default is measured beside it: its flows end
// in sockets of the host's, for which no peer here has a counterpart.
var edgeGoals = map[string][]goal{
	"small": {{Wall: kernelWall, Over: "runsc systrap", Max: 0.5}},
	"bulk":  {{Wall: kernelWall, Over: "runsc systrap", Max: 0.67}},
	"other": {{Wall: kernelWall, Over: "runsc systrap", Max: 1}},
	// What the path allows, Linux has.
	"long": {{Wall: kernelWall, Over: "native", Max: 1.1}},
}

const edgeGroup = "network-edge"

func edgeRow(kind, name string) row {
	return row{Group: edgeGroup, Name: name, Unit: nanoseconds, Goals: edgeGoals[kind]}
}

// An edgeService is a service whose load comes from outside, over a path if there is one.
type edgeService struct {
	service
	path *path
}

// longPaths are what connections have between continents.
var longPaths = []struct {
	name string
	path path
}{
	{"50 ms", path{delay: 25 * time.Millisecond, rate: 200e6 / 8}},
	{"50 ms, each 100th frame lost", path{delay: 25 * time.Millisecond, rate: 200e6 / 8, every: 100}},
}

// edgeServices are servers in the sandbox whose load comes from outside. What the server
// sends is sent.
func edgeServices() []edgeService {
	var list []edgeService
	iperf3 := func(name, kind, flags, pattern string, p *path) {
		for _, way := range []struct{ name, flags string }{{"sent", "-R"}, {"received", ""}} {
			list = append(list, edgeService{service{name: "iperf3, " + way.name + name, kind: kind, programs: []string{"iperf3"},
				before: "iperf3 -s -p $PORT >/dev/null &",
				// The server serves one at a time, and may be with who looked whether it listens.
				command: "for i in $(seq 20); do iperf3 -c $HOST -p $PORT -f m " + flags + " " + way.flags + " && break; sleep 0.1; done | " +
					perSecond(pattern, "($(NF-2) * 1e6 / 8 / 1048576)")}, p})
		}
	}
	iperf3("", "bulk", "-t 2", "/receiver/", nil)
	iperf3(", 4 streams", "bulk", "-t 2 -P 4", "/SUM.*receiver/", nil)
	for _, s := range services {
		if s.edge {
			list = append(list, edgeService{service: s})
		}
	}
	for _, long := range longPaths {
		// An algorithm that every stack here has, and the sandbox's default.
		iperf3(", "+long.name, "long", "-t 5 -C reno", "/receiver/", &long.path)
	}
	return list
}

// edgeFamilies are what talking costs between a sandbox and the host around it.
func edgeFamilies() []family {
	list := []family{{group: edgeGroup, oci: true, prepare: needs("ip", "nsenter"), measure: measureEdge}}
	for _, s := range edgeServices() {
		list = append(list, family{group: edgeGroup, name: s.name, oci: true, prepare: needs(append(s.programs, "ip", "nsenter")...),
			measure: func(ctx context.Context, b *bench, w *wall, _ string) ([]sample, error) {
				return b.measureEdgeService(ctx, w, &s)
			}})
	}
	return list
}

// measureEdge has a program in the sandbox ask servers outside.
func measureEdge(ctx context.Context, b *bench, w *wall, part string) ([]sample, error) {
	l, err := b.newLab(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer l.close()
	program := filepath.Join(b.work, "network")
	server, err := b.outside(ctx, l, job{args: []string{program, "serve"}})
	if err != nil {
		return nil, err
	}
	defer server.end()
	<-server.spoke
	seconds := "0.3"
	if b.quick {
		seconds = "0.1"
	}
	o, err := b.run(ctx, w, job{args: []string{program, seconds, part, outerAddress}, netns: namespacePath(l.inner)})
	samples, parseErr := guestSamples(o.stdout, edgeRow)
	if err == nil {
		err = parseErr
	}
	return samples, err
}

// measureEdgeService puts load from outside on a server in the sandbox.
func (b *bench) measureEdgeService(ctx context.Context, w *wall, s *edgeService) ([]sample, error) {
	if s.path != nil && w.hostStack() {
		return nil, nil // as natively, but for the algorithm, which takes a capability there
	}
	l, err := b.newLab(ctx, s.path)
	if err != nil {
		return nil, err
	}
	defer l.close()
	const port = "7100"
	env := []string{"PORT=" + port, "HOST=" + innerAddress, "LISTEN=0.0.0.0"}
	server, err := b.start(ctx, w, job{
		args:  []string{"/bin/bash", "-c", fmt.Sprintf("%s\n%s; echo serving; read; kill $(jobs -p); wait", s.before, awaitPort)},
		env:   env,
		netns: namespacePath(l.inner), ports: []string{port}, held: true,
	})
	if err != nil {
		return nil, err
	}
	<-server.spoke
	load, err := b.outside(ctx, l, job{env: env,
		args: []string{"/bin/bash", "-c", fmt.Sprintf("n=$(%s) && printf '%s\\t%s\\t%%s\\n' $n", s.command, s.kind, s.name)}})
	if err != nil {
		server.release()
		return nil, err
	}
	o, err := load.wait()
	_, serverErr := server.release()
	if err != nil {
		return nil, err
	}
	samples, err := guestSamples(o.stdout, edgeRow)
	if err == nil && len(samples) == 0 {
		err = serverErr
	}
	return samples, err
}
