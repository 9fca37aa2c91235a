package acl

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What the superuser makes inside is another account's, too: seen by acting as it.
func TestSharedWithAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	place, err := os.MkdirTemp("/var/tmp", "rexec-acl-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(place)
	if err := os.Chmod(place, 0o755); err != nil {
		t.Fatal(err)
	}
	Share(place, 1000)
	if !Shared(place) {
		t.Skip("this file system has no access lists")
	}
	if mode := Mode(place, 0o644); mode != 0o664 {
		t.Errorf("a file's mode is %o", mode)
	}
	inner := filepath.Join(place, "inner")
	if err := os.Mkdir(inner, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(inner, "file")
	if err := os.WriteFile(file, []byte("root's"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"sh", "-c", "echo more >>" + file}, {"touch", inner + "/other"}, {"rm", file}} {
		if code := run(t, argv); code != 0 {
			t.Errorf("%v ends with %d", argv, code)
		}
	}
}

func run(t *testing.T, argv []string) int {
	t.Helper()
	process, err := os.StartProcess("/bin/"+argv[0], argv, &os.ProcAttr{
		Files: []*os.File{nil, os.Stderr, os.Stderr},
		Sys:   &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}},
	})
	if err != nil {
		t.Fatal(err)
	}
	state, err := process.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return state.ExitCode()
}
