// Package folder reaches what is in a folder by the open folder itself instead of by its path: however deep it lies,
// whatever is renamed meanwhile, and never through a link.
package folder

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Batch is how many names are read at once.
const Batch = 512

const opened = "/proc/self/fd/"

// Folder is an open one.
type Folder struct{ *os.File }

// Open opens a folder by its path, whose links are followed.
func Open(path string) (Folder, error) { return open(path, 0) }

// Enter opens a folder in this one; a link is none.
func (f Folder) Enter(name string) (Folder, error) { return open(f.Child(name), syscall.O_NOFOLLOW) }

func open(path string, flags int) (Folder, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK|flags, 0)
	return Folder{file}, err
}

// Child is a path to what is in the folder, as long as that is open.
func (f Folder) Child(name string) string { return Itself(f.File) + "/" + name }

// Itself is a path to an open file.
func Itself(file *os.File) string { return opened + strconv.Itoa(int(file.Fd())) }

// Named gives an error the path that people know, unless it has one.
func Named(err error, path string) error {
	var errno syscall.Errno
	if err == nil || !errors.As(err, &errno) {
		return err
	}
	var named *fs.PathError
	if errors.As(err, &named) && !strings.HasPrefix(named.Path, opened) {
		return err
	}
	return &fs.PathError{Op: "open", Path: path, Err: errno}
}

// Virtual tells the file systems that the kernel makes up, and what is mounted for the guest, from those that hold files.
// The path is one that opens the folder; known is the one that people know.
func Virtual(path, known string) bool {
	if known == "/.rexec" {
		return true
	}
	var found syscall.Statfs_t
	if syscall.Statfs(path, &found) != nil {
		return false
	}
	const proc, sys, devpts, cgroup, cgroup2, mqueue = 0x9fa0, 0x62656572, 0x1cd1, 0x27e0eb, 0x63677270, 0x19800202
	switch found.Type {
	case proc, sys, devpts, cgroup, cgroup2, mqueue:
		return true
	}
	return false
}
