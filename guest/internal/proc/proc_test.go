package proc

import (
	"bufio"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"rexec-guest/internal/reap"
)

func TestMain(m *testing.M) {
	reap.Adopt()
	os.Exit(m.Run())
}

// start runs a script and returns the pids that it prints, one per line.
func start(t *testing.T, script string, count int) (*reap.Child, []int) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	child, err := reap.Start("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, writer.Fd(), 2}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	lines := bufio.NewScanner(reader)
	pids := []int{}
	for len(pids) < count && lines.Scan() {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return child, pids
}

func dead(pid int) bool {
	p, ok := read(pid)
	return !ok || p.State == 'Z'
}

func TestATreeDiesWhole(t *testing.T) {
	// A child, a grandchild in a session of its own whose parents are gone and whose environment is empty, and one that
	// ignores what can be ignored.
	script := `sleep 300 & echo $!
		setsid env -i sh -c '(setsid sh -c "echo \$\$; exec sleep 300" &) ' </dev/null
		sh -c 'trap "" HUP INT TERM; echo $$; while :; do sleep 300; done' &
		wait`
	child, pids := start(t, script, 3)
	if len(pids) != 3 {
		t.Fatalf("only %v started", pids)
	}
	KillTree(child, 10*time.Second)
	<-child.Done()
	for _, pid := range pids {
		if !dead(pid) {
			t.Errorf("%d lives", pid)
		}
	}
}

func TestABombDiesWhole(t *testing.T) {
	script := `echo $$; i=0; while [ $i -lt 40 ]; do (while :; do (sleep 0.01); done) & i=$((i+1)); done; wait`
	child, pids := start(t, script, 1)
	KillTree(child, 20*time.Second)
	<-child.Done()
	for _, p := range List() {
		if p.Session == pids[0] && p.State != 'Z' {
			t.Errorf("%d (%s) lives", p.Pid, p.Command)
		}
	}
}

func TestOthersLive(t *testing.T) {
	other, _ := start(t, "echo 1; exec sleep 300", 1)
	child, _ := start(t, "echo 1; exec sleep 300", 1)
	KillTree(child, 10*time.Second)
	<-child.Done()
	if dead(other.Pid) {
		t.Error("a process of another tree died")
	}
	KillTree(other, 10*time.Second)
	<-other.Done()
}

func TestAnyName(t *testing.T) {
	name := t.TempDir() + "/a) b ((c"
	if err := os.Symlink("/bin/sleep", name); err != nil {
		t.Fatal(err)
	}
	child, err := reap.Start(name, []string{"sleep", "300"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		t.Fatal(err)
	}
	p, ok := read(child.Pid)
	if !ok || p.Command != "a) b ((c" || p.Session != child.Pid || p.Parent != os.Getpid() {
		t.Errorf("%+v", p)
	}
	_ = child.Signal(syscall.SIGKILL, false)
	<-child.Done()
}

func TestAProgramIsNamedByItsFirstArgument(t *testing.T) {
	for first, name := range map[string]string{
		"/opt/my server": "my server", "nginx: master process /usr/sbin/nginx": "nginx", "-sh": "sh", "": "sleep",
	} {
		child, err := reap.Start("/bin/sleep", []string{first, "100"}, &syscall.ProcAttr{
			Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := read(child.Pid); !ok || p.Name() != name {
			t.Errorf("%q is called %q", first, p.Name())
		}
		_ = child.Signal(syscall.SIGKILL, false)
		<-child.Done()
	}
}
