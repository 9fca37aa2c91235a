// Package carry copies a file or a folder to another file system as it is: owners, modes, times, links, holes, extended
// attributes. What cannot be copied fails the whole.
package carry

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"unsafe"

	"rexec-guest/internal/extent"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/folder"
	"rexec-guest/internal/threads"
)

const part = 8 << 20

type carrier struct {
	top    folder.Folder
	itself folder.Inode  // the folder that is copied into
	linked folder.Linked // where in it the first name of a file with several went
}

// Into copies what is at a path into an open folder, under its own name.
func Into(name string, into folder.Folder) error {
	from, err := threads.Slow1(func() (folder.Folder, error) { return folder.Open(path.Dir(name)) })
	if err != nil {
		return err
	}
	defer from.Close()
	c := &carrier{top: into, linked: folder.Linked{}}
	info, err := into.Stat()
	if err != nil {
		return err
	}
	c.itself = folder.InodeOf(info.Sys().(*syscall.Stat_t))
	return c.entry(&step{from: from, to: into, name: path.Base(name), inside: path.Base(name), shown: name})
}

// step is one file on its way.
type step struct {
	from, to folder.Folder
	name     string
	inside   string // of the folder that is copied into
	shown    string // to people
	info     *syscall.Stat_t
}

func (s *step) source() string { return s.from.Child(s.name) }
func (s *step) target() string { return s.to.Child(s.name) }

func (c *carrier) entry(s *step) error {
	info, err := threads.Slow1(func() (fs.FileInfo, error) { return os.Lstat(s.source()) })
	if err != nil {
		return folder.Named(err, s.shown)
	}
	s.info = info.Sys().(*syscall.Stat_t)
	switch s.info.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		err = c.folder(s)
	case syscall.S_IFREG:
		err = c.file(s)
	default:
		_, err = threads.Slow1(func() (bool, error) { return true, special(s) })
	}
	return folder.Named(err, s.shown)
}

// special makes a link, a pipe or a socket anew; a device is the kernel's to refuse.
func special(s *step) error {
	if s.info.Mode&syscall.S_IFMT != syscall.S_IFLNK {
		if err := syscall.Mknod(s.target(), s.info.Mode, int(s.info.Rdev)); err != nil {
			return err
		}
		return s.dress(nil, nil)
	}
	leads, err := os.Readlink(s.source())
	if err != nil {
		return err
	}
	if err := os.Symlink(leads, s.target()); err != nil {
		return err
	}
	return s.dress(nil, nil)
}

func (c *carrier) folder(s *step) error {
	if folder.InodeOf(s.info) == c.itself {
		return fault.BadRequest("%q cannot be moved into itself", path.Dir(s.shown))
	}
	from, err := threads.Slow1(func() (folder.Folder, error) { return s.from.Enter(s.name) })
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := threads.Slow1(func() (folder.Folder, error) {
		if err := os.Mkdir(s.target(), 0o700); err != nil {
			return folder.Folder{}, err
		}
		return s.to.Enter(s.name)
	})
	if err != nil {
		return err
	}
	defer to.Close()
	for {
		names, err := threads.Slow1(func() ([]string, error) { return from.Readdirnames(folder.Batch) })
		for _, name := range names {
			child := &step{from: from, to: to, name: name, inside: s.inside + "/" + name, shown: s.shown + "/" + name}
			if err := c.entry(child); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	_, err = threads.Slow1(func() (bool, error) { return true, s.dress(from.File, to.File) })
	return err
}

func (c *carrier) file(s *step) error {
	if s.info.Nlink > 1 {
		if first, known := c.linked.First(s.info, s.inside); known {
			return os.Link(c.top.Child(first), s.target())
		}
	}
	from, err := threads.Slow1(func() (*os.File, error) {
		return os.OpenFile(s.source(), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	})
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := threads.Slow1(func() (*os.File, error) {
		return os.OpenFile(s.target(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	})
	if err != nil {
		return err
	}
	defer to.Close()
	if err := content(from, to, s.info.Size); err != nil {
		return err
	}
	_, err = threads.Slow1(func() (bool, error) { return true, s.dress(from, to) })
	return err
}

// content copies the data and leaves the holes out.
func content(from, to *os.File, size int64) error {
	for offset := int64(0); offset < size; {
		run, err := threads.Slow1(func() (extent.Extent, error) { return extent.Next(from, offset, size) })
		if err != nil {
			return err
		}
		if run.From == size {
			break
		}
		for at := run.From; at < run.To; {
			count, err := threads.Slow1(func() (int64, error) { return piece(from, to, at, min(part, run.To-at)) })
			if err != nil {
				return err
			}
			if count == 0 {
				return fault.BadRequest("a file became shorter while it was copied")
			}
			at += count
		}
		offset = run.To
	}
	return to.Truncate(size)
}

func piece(from, to *os.File, at, count int64) (int64, error) {
	if _, err := from.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	if _, err := to.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	return to.ReadFrom(&io.LimitedReader{R: from, N: count})
}

// dress gives the copy what the file has besides its content; from and to are there where attributes can be.
func (s *step) dress(from, to *os.File) error {
	if err := os.Lchown(s.target(), int(s.info.Uid), int(s.info.Gid)); err != nil {
		return err
	}
	if from != nil {
		if err := Attributes(from, to, "user.", "system.", "security."); err != nil {
			return err
		}
	}
	if s.info.Mode&syscall.S_IFMT != syscall.S_IFLNK {
		if err := syscall.Chmod(s.target(), s.info.Mode&0o7777); err != nil {
			return err
		}
	}
	return setTimes(s.target(), [2]syscall.Timespec{s.info.Atim, s.info.Mtim})
}

func setTimes(name string, times [2]syscall.Timespec) error {
	const noFollow, here = 0x100, ^uintptr(99)
	text, err := syscall.BytePtrFromString(name)
	if err != nil {
		return err
	}
	_, _, errno := syscall.Syscall6(syscall.SYS_UTIMENSAT, here, uintptr(unsafe.Pointer(text)),
		uintptr(unsafe.Pointer(&times)), noFollow, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
