package files

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"rexec-guest/internal/carry"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/folder"
	"rexec-guest/internal/threads"
)

// across moves to another file system: it copies to a place beside the target, renames that to the target, and removes
// the source last. Until then a failure leaves everything as it was.
func across(from, to string, overwrite bool) error {
	beside, err := threads.Slow1(func() (folder.Folder, error) {
		if err := fits(from, to, overwrite); err != nil {
			return folder.Folder{}, err
		}
		return besideOf(to)
	})
	if err != nil {
		return err
	}
	defer func() {
		_ = beside.Close()
		_ = removeAll(beside.Name())
	}()
	if err := carry.Into(from, beside); err != nil {
		return err
	}
	_, err = threads.Slow1(func() (bool, error) {
		return true, rename(path.Join(beside.Name(), path.Base(from)), to, overwrite)
	})
	if err != nil {
		return err
	}
	if err := removeAll(from); err != nil {
		known := fault.From(err)
		return fault.New(known.Status, known.Code, "it is at %q, but could not be removed from where it was: %s", to, known.Text)
	}
	return nil
}

// fits refuses before anything is copied what the last rename, or the removal of the source, would refuse after it.
func fits(from, to string, overwrite bool) error {
	source, err := os.Lstat(from)
	if err != nil {
		return err
	}
	refused := func(name string, errno syscall.Errno) error {
		return &os.PathError{Op: "move", Path: name, Err: errno}
	}
	if target, err := os.Lstat(to); err == nil {
		switch {
		case !overwrite:
			return refused(to, syscall.EEXIST)
		case target.IsDir() && !source.IsDir():
			return refused(to, syscall.EISDIR)
		case source.IsDir() && !target.IsDir():
			return refused(to, syscall.ENOTDIR)
		case target.IsDir() && !empty(to):
			return refused(to, syscall.ENOTEMPTY)
		}
	}
	if mountedIn(from) {
		return refused(from, syscall.EBUSY)
	}
	return nil
}

func empty(name string) bool {
	opened, err := folder.Open(name)
	if err != nil {
		return false
	}
	defer opened.Close()
	names, _ := opened.Readdirnames(1)
	return len(names) == 0
}

// mountedIn tells whether something is mounted at a path or beneath it: that could be copied, but not removed.
func mountedIn(name string) bool {
	parent, err := filepath.EvalSymlinks(path.Dir(name))
	if err != nil {
		return false
	}
	name = path.Join(parent, path.Base(name))
	table, _ := os.ReadFile("/proc/self/mountinfo")
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if at := plain.Replace(fields[4]); at == name || strings.HasPrefix(at, name+"/") {
			return true
		}
	}
	return false
}

// besideOf makes a folder beside a path that nobody else looks into, and from which nothing is inherited.
func besideOf(name string) (folder.Folder, error) {
	made := temporary(path.Dir(name))
	if err := os.Mkdir(made, 0o700); err != nil {
		return folder.Folder{}, named(err, name)
	}
	for _, list := range []string{"system.posix_acl_default", "system.posix_acl_access"} {
		_ = syscall.Removexattr(made, list)
	}
	err := os.Chmod(made, 0o700)
	if err == nil {
		var opened folder.Folder
		if opened, err = folder.Open(made); err == nil {
			return opened, nil
		}
	}
	_ = os.Remove(made)
	return folder.Folder{}, fmt.Errorf("beside %q: %w", name, err)
}
