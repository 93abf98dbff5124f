// Command goguest is a guest program that uses much of Go's runtime:
// goroutines, timers, files, child processes, signals, pipes and sockets.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sort"
	"sync"
	"syscall"
	"time"
)

func main() {
	check(goroutines(), files(), children(), signals(), sockets())
	fmt.Println("all done")
	os.Exit(9)
}

func check(errs ...error) {
	for _, err := range errs {
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
}

func goroutines() error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	sum := 0
	for i := range 500 {
		wg.Go(func() {
			time.Sleep(time.Duration(i%7) * time.Millisecond)
			b := make([]byte, 64<<10)
			b[i] = 1
			mu.Lock()
			sum += i
			mu.Unlock()
		})
	}
	wg.Wait()
	runtime.GC()
	fmt.Println("sum", sum)
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	for range 5 {
		<-t.C
	}
	return nil
}

func files() error {
	dir, err := os.MkdirTemp("", "goguest")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for i := range 20 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), bytes.Repeat([]byte{byte(i)}, i*1000), 0o600); err != nil {
			return err
		}
	}
	var names []string
	var total int64
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, d.Name())
			fi, err := d.Info()
			if err != nil {
				return err
			}
			total += fi.Size()
		}
		return err
	})
	sort.Strings(names)
	fmt.Println(names[:3], total)
	return err
}

func children() error {
	out, err := exec.Command("sh", "-c", "echo child; exit 3").Output()
	fmt.Printf("%q %v\n", out, err)
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	cmd.Stdout = &buf
	if err := cmd.Start(); err != nil {
		return err
	}
	io.WriteString(in, "through cat")
	in.Close()
	if err := cmd.Wait(); err != nil {
		return err
	}
	fmt.Println(buf.String())
	_, err = exec.Command("/no/such").Output()
	fmt.Println(err)
	return nil
}

func signals() error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		return err
	}
	select {
	case s := <-c:
		fmt.Println("got", s)
	case <-time.After(5 * time.Second):
		return fmt.Errorf("the signal did not come")
	}
	return nil
}

func sockets() error {
	l, err := net.Listen("unix", "@goguest")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.Copy(c, c)
		c.Close()
	}()
	c, err := net.Dial("unix", "@goguest")
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintln(c, "echo")
	line, err := bufio.NewReader(c).ReadString('\n')
	fmt.Print(line)
	return err
}
