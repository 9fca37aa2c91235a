package reap

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Adopt()
	os.Exit(m.Run())
}

func attr() *syscall.ProcAttr {
	return &syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true}}
}

func sh(t *testing.T, script string) *Child {
	t.Helper()
	child, err := Start("/bin/sh", []string{"sh", "-c", script}, attr())
	if err != nil {
		t.Fatal(err)
	}
	return child
}

func wait(t *testing.T, child *Child) {
	t.Helper()
	select {
	case <-child.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the child never ended")
	}
}

func TestEveryExitCodeIsExact(t *testing.T) {
	const total, at = 10_000, 16
	var workers sync.WaitGroup
	wrong := make(chan string, total)
	for worker := range at {
		workers.Go(func() {
			for i := worker; i < total; i += at {
				code := i % 256
				child, err := Start("/bin/sh", []string{"sh", "-c", fmt.Sprintf("exit %d", code)}, attr())
				if err != nil {
					wrong <- err.Error()
					continue
				}
				<-child.Done()
				if child.Code() != code {
					wrong <- fmt.Sprintf("%d instead of %d", child.Code(), code)
				}
			}
		})
	}
	workers.Wait()
	close(wrong)
	for text := range wrong {
		t.Error(text)
	}
	if Alive() != 0 {
		t.Errorf("%d children are still known", Alive())
	}
	var status syscall.WaitStatus
	if pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child is left: %d, %v", pid, err)
	}
}

func TestSignals(t *testing.T) {
	child := sh(t, "kill -9 $$")
	wait(t, child)
	if !child.Status().Signaled() || child.Code() != 137 {
		t.Errorf("%v", child.Status())
	}
	child = sh(t, "sleep 100")
	if err := child.Signal(syscall.SIGTERM, true); err != nil {
		t.Fatal(err)
	}
	wait(t, child)
	if child.Code() != 143 {
		t.Errorf("%v", child.Status())
	}
	if err := child.Signal(syscall.SIGTERM, false); err != syscall.ESRCH {
		t.Errorf("a dead process takes signals: %v", err)
	}
}

func TestAnOrphanIsReaped(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	files := attr()
	files.Files[1] = writer.Fd()
	child, err := Start("/bin/sh", []string{"sh", "-c", "(sleep 0.1; exit 9) & echo $!"}, files)
	if err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	var orphan int
	if _, err := fmt.Fscan(reader, &orphan); err != nil {
		t.Fatal(err)
	}
	wait(t, child)
	deadline := time.Now().Add(10 * time.Second)
	for syscall.Kill(orphan, 0) == nil {
		if time.Now().After(deadline) {
			t.Fatal("the orphan is a zombie")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAFailedStartLeavesNothing(t *testing.T) {
	if _, err := Start("/does/not/exist", []string{"x"}, attr()); err != syscall.ENOENT {
		t.Errorf("%v", err)
	}
	if Alive() != 0 {
		t.Error("something is registered")
	}
}
