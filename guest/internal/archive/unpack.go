package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"rexec-guest/internal/accounts"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/files"
	"rexec-guest/internal/folder"
	"rexec-guest/internal/threads"
)

// Unpacked counts what came out of an archive.
type Unpacked struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"`
}

type unpacker struct {
	root    *os.Root
	owner   *accounts.Account
	left    func() bool // whether the other side has gone away
	done    Unpacked
	folders []*tar.Header // their times are set at the end, when nothing is put into them any more
	buffer  []byte
}

const mostFolders = 100_000

// Unpack extracts a tar stream, compressed by gzip or not, beneath a folder, which is made for `user` as soon as the
// stream is seen to be one. What would leave it, by its name or through a link, is refused.
func Unpack(source io.Reader, into, user string, left func() bool) (*Unpacked, error) {
	var owner *accounts.Account
	var err error
	if user != "" {
		if owner, err = accounts.Lookup(user); err != nil {
			return nil, err
		}
	}
	body := &traced{source: source}
	plain, err := decompressed(body)
	if err != nil {
		return nil, body.judge(err)
	}
	in := tar.NewReader(plain)
	header, first := in.Next()
	if first != nil && !errors.Is(first, io.EOF) {
		return nil, body.judge(first)
	}
	if _, err := files.MakeDir(into, -1, user, true); err != nil {
		return nil, err
	}
	root, err := threads.Slow1(func() (*os.Root, error) { return os.OpenRoot(into) })
	if err != nil {
		return nil, err
	}
	defer root.Close()
	u := &unpacker{root: root, owner: owner, left: left, buffer: make([]byte, part)}
	for err = first; !errors.Is(err, io.EOF); header, err = in.Next() {
		if err != nil {
			return nil, body.judge(err)
		}
		if err := u.entry(header, in); err != nil {
			return nil, body.judge(err)
		}
		u.done.Entries++
	}
	for _, header := range u.folders {
		u.dress(header)
	}
	return &u.done, nil
}

// decompressed looks at how the stream begins.
func decompressed(body io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(body, 64<<10)
	if magic, _ := buffered.Peek(2); !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return buffered, nil
	}
	return gzip.NewReader(buffered)
}

// traced remembers how the stream itself ended, to tell a bad archive from a connection that broke.
type traced struct {
	source io.Reader
	err    error
}

func (t *traced) Read(out []byte) (int, error) {
	count, err := t.source.Read(out)
	t.err = err
	return count, err
}

func (t *traced) judge(err error) error {
	short := errors.Is(err, io.ErrUnexpectedEOF) && (t.err == nil || t.err == io.EOF)
	var corrupt flate.CorruptInputError
	torn := errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, &corrupt)
	if short || torn || errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) {
		return fault.BadRequest("the archive is not a whole tar stream: %s", err)
	}
	return err
}

func (u *unpacker) entry(header *tar.Header, content io.Reader) error {
	name := path.Clean(strings.TrimLeft(header.Name, "/"))
	if name == ".." || strings.HasPrefix(name, "../") || strings.IndexByte(name, 0) >= 0 {
		return fault.BadRequest("%q would leave the folder", header.Name)
	}
	header.Name = name
	switch header.Typeflag {
	case tar.TypeDir:
		return u.slowly(name, func() error { return u.folder(header) })
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.escape(name, u.file(header, content))
	case tar.TypeSymlink:
		return u.slowly(name, func() error {
			if err := u.clearFor(name); err != nil {
				return err
			}
			if err := u.root.Symlink(header.Linkname, name); err != nil {
				return err
			}
			return u.own(header)
		})
	case tar.TypeLink:
		target := path.Clean(strings.TrimLeft(header.Linkname, "/"))
		return u.slowly(name, func() error {
			if err := u.clearFor(name); err != nil {
				return err
			}
			return u.root.Link(target, name)
		})
	case tar.TypeFifo:
		return u.slowly(name, func() error { return u.pipe(header) })
	}
	return nil // devices are not a container's to make
}

func (u *unpacker) slowly(name string, change func() error) error {
	_, err := threads.Slow1(func() (bool, error) { return true, change() })
	return u.escape(name, err)
}

// escape gives the refusal of the root its words.
func (u *unpacker) escape(name string, err error) error {
	var errno syscall.Errno
	if err != nil && !errors.As(err, &errno) && strings.Contains(err.Error(), "escapes from parent") {
		return fault.BadRequest("%q would leave the folder", name)
	}
	return err
}

func (u *unpacker) folder(header *tar.Header) error {
	if header.Name == "." {
		return nil
	}
	if err := u.parents(header.Name); err != nil {
		return err
	}
	if err := u.root.Mkdir(header.Name, 0o700); err != nil {
		info, found := u.root.Lstat(header.Name)
		if found != nil || !info.IsDir() {
			return err
		}
	}
	if len(u.folders) < mostFolders {
		u.folders = append(u.folders, header)
	}
	if err := u.own(header); err != nil {
		return err
	}
	return u.root.Chmod(header.Name, fs.FileMode(header.Mode).Perm()|special(header.Mode))
}

func special(mode int64) fs.FileMode {
	bits := fs.FileMode(0)
	if mode&0o4000 != 0 {
		bits |= fs.ModeSetuid
	}
	if mode&0o2000 != 0 {
		bits |= fs.ModeSetgid
	}
	if mode&0o1000 != 0 {
		bits |= fs.ModeSticky
	}
	return bits
}

func (u *unpacker) parents(name string) error {
	parent := path.Dir(name)
	if parent == "." {
		return nil
	}
	if _, err := u.root.Stat(parent); err == nil {
		return nil
	}
	return u.root.MkdirAll(parent, 0o755)
}

// clearFor makes room for an entry that is not a folder.
func (u *unpacker) clearFor(name string) error {
	if err := u.parents(name); err != nil {
		return err
	}
	info, err := u.root.Lstat(name)
	if err != nil {
		return nil
	}
	if info.IsDir() {
		return &fs.PathError{Op: "unpack", Path: name, Err: syscall.EISDIR}
	}
	return u.root.Remove(name)
}

func (u *unpacker) pipe(header *tar.Header) error {
	if err := u.clearFor(header.Name); err != nil {
		return err
	}
	parent, err := u.root.Open(path.Dir(header.Name))
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := syscall.Mkfifo(folder.Folder{File: parent}.Child(path.Base(header.Name)), 0o600); err != nil {
		return folder.Named(err, header.Name)
	}
	if err := u.own(header); err != nil {
		return err
	}
	return u.root.Chmod(header.Name, fs.FileMode(header.Mode).Perm())
}

func (u *unpacker) file(header *tar.Header, content io.Reader) error {
	target, err := threads.Slow1(func() (*os.File, error) {
		if err := u.clearFor(header.Name); err != nil {
			return nil, err
		}
		return u.root.OpenFile(header.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	})
	if err != nil {
		return err
	}
	defer target.Close()
	if err := u.content(target, content, sparse(header)); err != nil {
		return err
	}
	if err := u.own(header); err != nil {
		return err
	}
	if err := target.Chmod(fs.FileMode(header.Mode).Perm() | special(header.Mode)); err != nil {
		return err
	}
	u.dress(header)
	return nil
}

// content writes the file; of one that has holes what is zero becomes holes again.
func (u *unpacker) content(target *os.File, content io.Reader, holes bool) error {
	length := int64(0)
	for {
		count, err := files.Gather(content, u.buffer)
		piece := u.buffer[:count]
		if holes && bytes.Equal(piece, nothing[:count]) {
			// This may be the end of no work at all: nobody notices otherwise that the other side left.
			if u.left() {
				return io.ErrUnexpectedEOF
			}
		} else if _, err := threads.Slow1(func() (int, error) { return target.WriteAt(piece, length) }); err != nil {
			return err
		}
		length += int64(count)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	u.done.Bytes += length
	_, err := threads.Slow1(func() (bool, error) { return true, target.Truncate(length) })
	return err
}

var nothing [part]byte

// sparse tells whether the entry says that it has holes.
func sparse(header *tar.Header) bool {
	_, told := header.PAXRecords["GNU.sparse.major"]
	return told || header.Typeflag == tar.TypeGNUSparse
}

func (u *unpacker) own(header *tar.Header) error {
	uid, gid := header.Uid, header.Gid
	if u.owner != nil {
		uid, gid = int(u.owner.UID), int(u.owner.GID)
	}
	return u.root.Lchown(header.Name, uid, gid)
}

// dress sets the times; that they cannot be kept is no failure.
func (u *unpacker) dress(header *tar.Header) {
	if header.ModTime.Unix() > 0 {
		_ = u.root.Chtimes(header.Name, time.Time{}, header.ModTime)
	}
}
