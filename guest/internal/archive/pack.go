// Package archive packs folders into tar streams and unpacks them, beneath a folder and nowhere else.
package archive

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"rexec-guest/internal/accounts"
	"rexec-guest/internal/threads"
)

const (
	part      = 128 << 10
	mostLinks = 100_000
)

type inode struct{ device, number uint64 }

type packer struct {
	out    *tar.Writer
	linked map[inode]string
	buffer []byte
}

// Pack writes a file or folder; the names in the archive begin with its own, as those of a copied folder do.
func Pack(out io.Writer, name string) error {
	p := &packer{out: tar.NewWriter(out), linked: map[inode]string{}, buffer: make([]byte, part)}
	if err := p.add(name, path.Base(name)); err != nil {
		return err
	}
	return p.out.Close()
}

func (p *packer) add(name, inside string) error {
	if inside == "/" {
		inside = "."
	}
	info, err := threads.Slow1(func() (fs.FileInfo, error) { return os.Lstat(name) })
	if err != nil {
		return err
	}
	header, err := p.header(name, inside, info)
	if header == nil || err != nil {
		return err
	}
	if header.Typeflag == tar.TypeReg {
		return p.file(name, header)
	}
	if err := p.out.WriteHeader(header); err != nil {
		return err
	}
	if info.IsDir() && !virtual(name) {
		return p.folder(name, inside)
	}
	return nil
}

// virtual tells the file systems that the kernel makes up, and what is mounted for the guest, from those that hold files.
func virtual(name string) bool {
	if name == "/.rexec" {
		return true
	}
	var found syscall.Statfs_t
	if syscall.Statfs(name, &found) != nil {
		return false
	}
	const proc, sys, devpts, cgroup, cgroup2, mqueue = 0x9fa0, 0x62656572, 0x1cd1, 0x27e0eb, 0x63677270, 0x19800202
	switch found.Type {
	case proc, sys, devpts, cgroup, cgroup2, mqueue:
		return true
	}
	return false
}

// header describes one file; nil for what an archive cannot carry.
func (p *packer) header(name, inside string, info fs.FileInfo) (*tar.Header, error) {
	if info.Mode()&fs.ModeSocket != 0 {
		return nil, nil
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		target, _ = os.Readlink(name)
	}
	header, err := tar.FileInfoHeader(bare{info}, target)
	if err != nil {
		return nil, nil
	}
	header.Name, header.Format = inside, tar.FormatPAX
	if info.IsDir() {
		header.Name += "/"
	}
	found, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return header, nil
	}
	header.Uid, header.Gid = int(found.Uid), int(found.Gid)
	header.Uname, header.Gname = accounts.UserName(found.Uid), accounts.GroupName(found.Gid)
	header.Mode = int64(found.Mode & 0o7777)
	if info.Mode().IsRegular() && found.Nlink > 1 && len(p.linked) < mostLinks {
		key := inode{uint64(found.Dev), found.Ino}
		if first, known := p.linked[key]; known {
			header.Typeflag, header.Linkname, header.Size = tar.TypeLink, first, 0
		} else {
			p.linked[key] = header.Name
		}
	}
	return header, nil
}

// bare hides the system's part of the information, from which the tar package would look up names its own way.
type bare struct{ fs.FileInfo }

func (bare) Sys() any { return nil }

// file writes exactly the size that its header says, however the file changes meanwhile.
func (p *packer) file(name string, header *tar.Header) error {
	source, err := threads.Slow1(func() (*os.File, error) {
		return os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer source.Close()
	if err := p.out.WriteHeader(header); err != nil {
		return err
	}
	left := header.Size
	for left > 0 {
		space := p.buffer[:min(left, part)]
		count, err := threads.Slow1(func() (int, error) { return source.Read(space) })
		if count == 0 && err != nil {
			clear(space)
			count = len(space)
		}
		if _, err := p.out.Write(space[:count]); err != nil {
			return err
		}
		left -= int64(count)
	}
	return nil
}

func (p *packer) folder(name, inside string) error {
	names, err := threads.Slow1(func() ([]string, error) {
		directory, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer directory.Close()
		return directory.Readdirnames(-1)
	})
	if err != nil {
		return nil
	}
	for _, child := range names {
		err := p.add(path.Join(name, child), path.Join(inside, child))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Copy copies a file or folder into a folder, owners, modes, times and links included.
func Copy(name, into string) error {
	reader, writer := io.Pipe()
	go func() { _ = writer.CloseWithError(Pack(writer, name)) }()
	_, err := Unpack(reader, into, nil)
	_ = reader.CloseWithError(io.ErrClosedPipe)
	return err
}
