package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// Goals of the network, over the peer with a network stack of its own: small
// requests, bulk, and what is neither.
var networkGoals = map[string][]goal{
	"small": {{Over: "runsc systrap", Max: 0.5}},
	"bulk":  {{Over: "runsc systrap", Max: 0.67}},
	"other": {notSlower},
}

// A service is a server and its load. What its script prints is a number of
// nanoseconds a request, or for each MiB.
type service struct {
	name, kind string
	quick      bool
	// edge says that its load is measured from outside of the sandbox too.
	edge bool
	// before starts the server. It is a shell's, with $BENCH_TMP to write to and $PORT
	// to listen on, at the address $LISTEN.
	before string
	// command asks the server at $HOST, and prints nanoseconds.
	command  string
	programs []string
}

// perSecond turns a rate on standard input, found by a pattern of awk's, into
// nanoseconds.
func perSecond(pattern, field string) string {
	return fmt.Sprintf(`awk '%s { printf "%%.0f\n", 1e9 / %s; exit }'`, pattern, field)
}

// awaitPort waits until something listens on $PORT, at the sandbox's own loopback.
const awaitPort = `for i in $(seq 200); do (exec 3<>/dev/tcp/127.0.0.1/$PORT) 2>/dev/null && break; sleep 0.05; done`

// servicePorts is the first of the services' ports. It lies below those that a host gives to
// who connects, of which rows before have used many.
const servicePorts = 17100

// services are the servers that people run.
var services = []service{
	{name: "iperf3, sent", kind: "bulk", programs: []string{"iperf3"},
		before:  "iperf3 -s -p $PORT >/dev/null &",
		command: "iperf3 -c $HOST -p $PORT -t 2 -f m | " + perSecond("/receiver/", "($7 * 1e6 / 8 / 1048576)")},
	{name: "iperf3, received", kind: "bulk", programs: []string{"iperf3"},
		before:  "iperf3 -s -p $PORT >/dev/null &",
		command: "iperf3 -c $HOST -p $PORT -R -t 2 -f m | " + perSecond("/receiver/", "($7 * 1e6 / 8 / 1048576)")},
	{name: "nginx, wrk on 16 connections", kind: "small", quick: true, edge: true, programs: []string{"nginx", "wrk"},
		before: `mkdir $BENCH_TMP/nginx && echo hello >$BENCH_TMP/nginx/index.html && cat >$BENCH_TMP/nginx.conf <<END
daemon off; worker_processes 1; master_process off; pid $BENCH_TMP/nginx.pid; error_log /dev/null; user root;
events { worker_connections 256; }
http { access_log off; client_body_temp_path $BENCH_TMP/nginx; proxy_temp_path $BENCH_TMP/nginx; fastcgi_temp_path $BENCH_TMP/nginx;
 uwsgi_temp_path $BENCH_TMP/nginx; scgi_temp_path $BENCH_TMP/nginx; keepalive_requests 1000000;
 server { listen $LISTEN:$PORT; root $BENCH_TMP/nginx; } }
END
nginx -c $BENCH_TMP/nginx.conf 2>/dev/null &`,
		command: "wrk -t1 -c16 -d2s http://$HOST:$PORT/index.html | " + perSecond("/Requests.sec/", "$2")},
	{name: "redis-benchmark, GET on 16 connections", kind: "small", edge: true, programs: []string{"redis-server", "redis-benchmark"},
		before:  "redis-server --port $PORT --bind $LISTEN --protected-mode no --save '' --dir $BENCH_TMP >/dev/null &",
		command: "redis-benchmark -h $HOST -p $PORT -c 16 -n 20000 -t get --csv | tr ',\"' '  ' | " + perSecond("/GET/", "$2")},
	{name: "redis-benchmark, SET, 16 at a time", kind: "small", programs: []string{"redis-server", "redis-benchmark"},
		before:  "redis-server --port $PORT --bind $LISTEN --protected-mode no --save '' --dir $BENCH_TMP >/dev/null &",
		command: "redis-benchmark -h $HOST -p $PORT -c 16 -P 16 -n 100000 -t set --csv | tr ',\"' '  ' | " + perSecond("/SET/", "$2")},
	{name: "node http, wrk on 16 connections", kind: "small", programs: []string{"node", "wrk"},
		before:  `node -e 'require("http").createServer((q, a) => a.end("hello")).listen(+process.env.PORT, "127.0.0.1")' &`,
		command: "wrk -t1 -c16 -d2s http://$HOST:$PORT/ | " + perSecond("/Requests.sec/", "$2")},
	{name: "pgbench, select", kind: "small", programs: []string{"pgbench"},
		before: `pg=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1) && mkdir $BENCH_TMP/pg && chmod o+x $BENCH_TMP $BENCH_TMP/.. && chown nobody $BENCH_TMP $BENCH_TMP/pg &&
as="setpriv --reuid=nobody --regid=nogroup --clear-groups" && $as $pg/initdb -D $BENCH_TMP/pg --no-sync >/dev/null
$as $pg/postgres -D $BENCH_TMP/pg -p $PORT -c fsync=off -k $BENCH_TMP >/dev/null 2>&1 &
` + awaitPort + `
pgbench -h 127.0.0.1 -p $PORT -U nobody -i -s 1 -q postgres >/dev/null 2>&1`,
		command: "pgbench -h 127.0.0.1 -p $PORT -U nobody -S -c 4 -T 3 -n postgres 2>/dev/null | " + perSecond("/^tps/", "$3")},
}

// networkFamilies are what talking costs, over the loopback interface of one sandbox.
func networkFamilies() []family {
	const group = "network"
	named := func(kind, name string) row {
		return row{Group: group, Name: name, Unit: nanoseconds, Goals: networkGoals[kind]}
	}
	list := []family{{group: group, quick: true, measure: func(ctx context.Context, b *bench, w *wall, part string) ([]sample, error) {
		seconds := "0.3"
		if b.quick {
			seconds = "0.1"
		}
		o, err := b.run(ctx, w, job{args: []string{filepath.Join(b.work, "network"), seconds, part}})
		samples, parseErr := guestSamples(o.stdout, named)
		if err == nil {
			err = parseErr
		}
		return samples, err
	}}}
	for i, s := range services {
		list = append(list, family{group: group, name: s.name, quick: s.quick, prepare: needs(s.programs...),
			measure: func(ctx context.Context, b *bench, w *wall, _ string) ([]sample, error) {
				o, err := b.run(ctx, w, job{
					args: []string{"/bin/bash", "-c", fmt.Sprintf("{ %s\n%s; } >&2\nn=$(%s) && printf '%s\\t%s\\t%%s\\n' $n\nkill $(jobs -p); wait",
						s.before, awaitPort, s.command, s.kind, s.name)},
					// Natively all rows share one host.
					env: []string{fmt.Sprintf("PORT=%d", servicePorts+i), "HOST=127.0.0.1", "LISTEN=127.0.0.1"},
				})
				samples, parseErr := guestSamples(o.stdout, named)
				if err == nil {
					err = parseErr
				}
				return samples, err
			}})
	}
	return list
}
