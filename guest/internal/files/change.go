package files

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"runtime"
	"syscall"
	"unsafe"

	"rexec-guest/internal/accounts"
	"rexec-guest/internal/acl"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/threads"
)

// Delete removes a file, a link (never what it leads to), or a folder.
func Delete(name string, recursive bool) error {
	name, err := Clean(name)
	if err != nil {
		return err
	}
	if name == "/" {
		return fault.BadRequest("the root is not deleted")
	}
	if _, err = threads.Slow1(func() (fs.FileInfo, error) { return os.Lstat(name) }); err != nil {
		return err
	}
	if recursive {
		return removeAll(name)
	}
	_, err = threads.Slow1(func() (bool, error) { return true, remove(name) })
	return err
}

// removals leaves most slots to others, however many large trees are removed at once.
var removals = make(chan struct{}, 3)

func removeAll(name string) error {
	removals <- struct{}{}
	defer func() { <-removals }()
	_, err := threads.Slow1(func() (bool, error) { return true, os.RemoveAll(name) })
	return err
}

// remove is one of unlink and rmdir; the error is that of the one that fits.
func remove(name string) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = syscall.Rmdir(name)
	} else {
		err = syscall.Unlink(name)
	}
	if err != nil {
		return &os.PathError{Op: "delete", Path: name, Err: err}
	}
	return nil
}

// MakeDir makes a folder; one that is there already is a success.
func MakeDir(name string, mode int, user string, parents bool) (*Entry, error) {
	name, err := Clean(name)
	if err != nil {
		return nil, err
	}
	owner, err := ownerOf(user)
	if err != nil {
		return nil, err
	}
	return threads.Slow1(func() (*Entry, error) {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			return stat(name)
		}
		if parents {
			if err := makeAll(path.Dir(name), 0o755, owner); err != nil {
				return nil, err
			}
		}
		if mode < 0 {
			mode = int(acl.Mode(path.Dir(name), 0o755))
		}
		if err := makeOne(name, mode, owner); err != nil {
			return nil, err
		}
		return stat(name)
	})
}

func makeAll(name string, mode int, owner *accounts.Account) error {
	if info, err := os.Stat(name); err == nil {
		if info.IsDir() {
			return nil
		}
		return &os.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
	}
	if err := makeAll(path.Dir(name), mode, owner); err != nil {
		return err
	}
	if err := makeOne(name, int(acl.Mode(path.Dir(name), uint32(mode))), owner); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func makeOne(name string, mode int, owner *accounts.Account) error {
	if err := os.Mkdir(name, 0o700); err != nil {
		return err
	}
	if owner != nil {
		if err := os.Lchown(name, int(owner.UID), int(owner.GID)); err != nil {
			return err
		}
	}
	if err := syscall.Chmod(name, uint32(mode)&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: name, Err: err}
	}
	return nil
}

// Move renames; where that cannot be done (another file system, or a folder of the image's own layers) it copies first.
func Move(from, to string, overwrite bool) (*Entry, error) {
	from, err := Clean(from)
	if err != nil {
		return nil, err
	}
	if to, err = Clean(to); err != nil {
		return nil, err
	}
	_, err = threads.Slow1(func() (bool, error) {
		if _, err := os.Lstat(from); err != nil {
			return false, err
		}
		return true, rename(from, to, overwrite)
	})
	if errors.Is(err, syscall.EXDEV) {
		err = across(from, to, overwrite)
	}
	if err != nil {
		return nil, err
	}
	return Stat(to)
}

func rename(from, to string, overwrite bool) error {
	wrapped := func(err error) error {
		if err == nil {
			return nil
		}
		return &os.PathError{Op: "move", Path: to, Err: err}
	}
	if overwrite {
		return wrapped(syscall.Rename(from, to))
	}
	err := renameNoReplace(from, to)
	if err != syscall.EINVAL && err != syscall.ENOSYS {
		return wrapped(err)
	}
	if _, found := os.Lstat(to); found == nil {
		return wrapped(syscall.EEXIST)
	}
	return wrapped(syscall.Rename(from, to))
}

func renameNoReplace(from, to string) error {
	number, here := uintptr(316), ^uintptr(99) // renameat2 on amd64; AT_FDCWD
	if runtime.GOARCH == "arm64" {
		number = 276
	}
	a, err := syscall.BytePtrFromString(from)
	if err != nil {
		return err
	}
	b, err := syscall.BytePtrFromString(to)
	if err != nil {
		return err
	}
	const noReplace = 1
	_, _, errno := syscall.Syscall6(number, here, uintptr(unsafe.Pointer(a)), here, uintptr(unsafe.Pointer(b)), noReplace, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
