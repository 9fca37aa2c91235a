package files

import (
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"

	"rexec-guest/internal/accounts"
	"rexec-guest/internal/acl"
	"rexec-guest/internal/carry"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/threads"
)

const part = 128 << 10

var parts = sync.Pool{New: func() any { return new([part]byte) }}

// Open opens a plain file to read; devices, pipes and sockets are refused, so that none can hold a reader.
func Open(name string) (*os.File, os.FileInfo, error) {
	name, err := Clean(name)
	if err != nil {
		return nil, nil, err
	}
	file, err := threads.Slow1(func() (*os.File, error) {
		info, err := os.Stat(name)
		if err == nil {
			err = plain(name, info)
		}
		if err != nil {
			return nil, err
		}
		return os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	})
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil {
		err = plain(name, info)
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

func plain(name string, info os.FileInfo) error {
	if info.IsDir() {
		return &os.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	if !info.Mode().IsRegular() {
		return fault.BadRequest("%q is a %s, not a file", name, kind(info.Mode()))
	}
	return nil
}

// Copy moves count bytes from a file (all there is where it is -1) to a target that may be slow.
func Copy(target io.Writer, file *os.File, count int64) error {
	buffer := parts.Get().(*[part]byte)
	defer parts.Put(buffer)
	for count != 0 {
		space := buffer[:]
		if count > 0 {
			space = space[:min(count, part)]
		}
		read, err := threads.Slow1(func() (int, error) { return file.Read(space) })
		if read > 0 {
			if _, err := target.Write(space[:read]); err != nil {
				return err
			}
			if count > 0 {
				count -= int64(read)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fill moves a body that may be slow into a file, in large parts.
func fill(file *os.File, body io.Reader) error {
	buffer := parts.Get().(*[part]byte)
	defer parts.Put(buffer)
	for {
		count, err := Gather(body, buffer[:])
		if count > 0 {
			if _, err := threads.Slow1(func() (int, error) { return file.Write(buffer[:count]) }); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Gather is io.ReadFull, but it does not hide how the body ended.
func Gather(body io.Reader, buffer []byte) (int, error) {
	total := 0
	for total < len(buffer) {
		count, err := body.Read(buffer[total:])
		total += count
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// Put is how a file is to be written.
type Put struct {
	Path     string
	Mode     int // -1 keeps what is there, or 0644
	User     string
	NewUser  string // whose a file is that is not there yet, and the folders made for it
	MakeDirs bool
}

// Write streams a body into a new file and puts that in the place of the old one; a failure leaves the old one.
func Write(put *Put, body io.Reader) (*Entry, error) {
	name, err := Clean(put.Path)
	if err != nil {
		return nil, err
	}
	owner, err := ownerOf(put.User)
	if err != nil {
		return nil, err
	}
	w := &writer{put: put, owner: owner, inherits: owner == nil}
	if owner == nil {
		if w.owner, err = ownerOf(put.NewUser); err != nil {
			return nil, err
		}
	}
	if _, err = threads.Slow1(func() (bool, error) { return true, w.begin(name) }); err != nil {
		return nil, named(err, name)
	}
	err = fill(w.file, body)
	entry, err := threads.Slow1(func() (*Entry, error) { return w.end(err) })
	return entry, named(err, name)
}

type writer struct {
	put       *Put
	owner     *accounts.Account
	inherits  bool
	replaces  bool
	name      string
	temporary string
	file      *os.File
	mode      uint32
	uid, gid  int
}

func ownerOf(user string) (*accounts.Account, error) {
	if user == "" {
		return nil, nil
	}
	return accounts.Lookup(user)
}

func (w *writer) begin(name string) error {
	w.mode = 0o644
	if w.owner != nil {
		w.uid, w.gid = int(w.owner.UID), int(w.owner.GID)
	}
	name, err := followed(name)
	if err != nil {
		return err
	}
	w.name = name
	if w.put.MakeDirs {
		if err := makeAll(path.Dir(name), 0o755, w.owner); err != nil {
			return err
		}
	}
	if err := w.inherit(); err != nil {
		return err
	}
	if w.put.Mode >= 0 {
		w.mode = uint32(w.put.Mode) & 0o7777
	}
	w.temporary = temporary(path.Dir(name))
	w.file, err = os.OpenFile(w.temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	return err
}

// inherit takes mode and owner from the file that is replaced.
func (w *writer) inherit() error {
	info, err := os.Lstat(w.name)
	if errors.Is(err, os.ErrNotExist) {
		w.mode = acl.Mode(path.Dir(w.name), w.mode)
		return nil
	}
	if err != nil {
		return err
	}
	if err := plain(w.name, info); err != nil {
		return err
	}
	w.replaces = true
	if found, ok := info.Sys().(*syscall.Stat_t); ok {
		w.mode = found.Mode & 0o7777
		if w.inherits {
			w.uid, w.gid = int(found.Uid), int(found.Gid)
		}
	}
	return nil
}

func (w *writer) end(err error) (*Entry, error) {
	if err == nil {
		err = w.file.Chown(w.uid, w.gid)
	}
	if err == nil {
		err = w.keep()
	}
	if err == nil {
		err = syscall.Fchmod(int(w.file.Fd()), w.mode)
	}
	if closing := w.file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(w.temporary, w.name)
	}
	if err != nil {
		_ = os.Remove(w.temporary)
		return nil, err
	}
	return stat(w.name)
}

// keep takes the attributes over from the file that is replaced; not the rights that its content had.
func (w *writer) keep() error {
	if !w.replaces {
		return nil
	}
	old, err := os.OpenFile(w.name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer old.Close()
	return carry.Attributes(old, w.file, "user.", "system.posix_acl_access")
}

// followed is where a final link, and the link there, lead.
func followed(name string) (string, error) {
	for range 40 {
		target, err := os.Readlink(name)
		if err != nil {
			return name, nil
		}
		if !path.IsAbs(target) {
			target = path.Dir(name) + "/" + target
		}
		// The folder's own links come first: `..` behind one is not the folder that its name stands in.
		parent, last := path.Split(target)
		if parent, err = filepath.EvalSymlinks(parent); err != nil {
			return path.Clean(target), nil
		}
		name = path.Join(parent, last)
	}
	return "", &os.PathError{Op: "open", Path: name, Err: syscall.ELOOP}
}
