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
	"rexec-guest/internal/extent"
	"rexec-guest/internal/folder"
	"rexec-guest/internal/threads"
)

const part = 128 << 10

type packer struct {
	raw    io.Writer // beneath out, for what the tar package does not write
	out    *tar.Writer
	linked folder.Linked
	buffer []byte
}

// Pack writes a file or folder; the names in the archive begin with its own, as those of a copied folder do.
func Pack(out io.Writer, name string) error {
	p := &packer{raw: out, out: tar.NewWriter(out), linked: folder.Linked{}, buffer: make([]byte, part)}
	at, err := threads.Slow1(func() (folder.Folder, error) { return folder.Open(path.Dir(name)) })
	if err != nil {
		return err
	}
	defer at.Close()
	last, inside := path.Base(name), path.Base(name)
	if name == "/" {
		last, inside = ".", "."
	}
	if err := p.add(at, last, inside, name); err != nil {
		return err
	}
	return p.out.Close()
}

// add packs what has a name in a folder; whole is its path where it is known.
func (p *packer) add(at folder.Folder, name, inside, whole string) error {
	info, err := threads.Slow1(func() (fs.FileInfo, error) { return os.Lstat(at.Child(name)) })
	if err != nil {
		return err
	}
	header, err := p.header(at.Child(name), inside, info)
	if header == nil || err != nil {
		return err
	}
	if header.Typeflag == tar.TypeReg {
		return p.file(at, name, header, info)
	}
	if err := p.out.WriteHeader(header); err != nil {
		return err
	}
	if info.IsDir() {
		return p.folder(at, name, inside, whole)
	}
	return nil
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
	if info.Mode().IsRegular() && found.Nlink > 1 {
		if first, known := p.linked.First(found, header.Name); known {
			header.Typeflag, header.Linkname, header.Size = tar.TypeLink, first, 0
		}
	}
	return header, nil
}

// bare hides the system's part of the information, from which the tar package would look up names its own way.
type bare struct{ fs.FileInfo }

func (bare) Sys() any { return nil }

func (p *packer) file(at folder.Folder, name string, header *tar.Header, info fs.FileInfo) error {
	source, err := threads.Slow1(func() (*os.File, error) {
		return os.OpenFile(at.Child(name), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer source.Close()
	found, _ := info.Sys().(*syscall.Stat_t)
	if found != nil && extent.Hollow(found) {
		runs, err := threads.Slow1(func() ([]extent.Extent, error) { return extent.All(source, header.Size, mostRuns) })
		if err == nil && hollow(runs, header.Size) {
			return p.sparse(source, header, runs)
		}
	}
	if err := p.out.WriteHeader(header); err != nil {
		return err
	}
	return p.content(p.out, source, extent.Extent{From: 0, To: header.Size})
}

// content writes exactly the length of the run, however the file changes meanwhile.
func (p *packer) content(out io.Writer, source *os.File, run extent.Extent) error {
	for run.From < run.To {
		space := p.buffer[:min(run.To-run.From, part)]
		count, err := threads.Slow1(func() (int, error) { return source.ReadAt(space, run.From) })
		if count == 0 && err != nil {
			clear(space)
			count = len(space)
		}
		if _, err := out.Write(space[:count]); err != nil {
			return err
		}
		run.From += int64(count)
	}
	return nil
}

func (p *packer) folder(at folder.Folder, name, inside, whole string) error {
	opened, err := threads.Slow1(func() (folder.Folder, error) { return at.Enter(name) })
	if err != nil {
		return nil
	}
	defer opened.Close()
	if folder.Virtual(folder.Itself(opened.File), whole) {
		return nil
	}
	for {
		names, ended := threads.Slow1(func() ([]string, error) { return opened.Readdirnames(folder.Batch) })
		for _, child := range names {
			// The archive's names are those of the whole path: path.Join would clean what is not to be cleaned twice.
			err := p.add(opened, child, below(inside, child), below(whole, child))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		if ended != nil {
			return nil
		}
	}
}

func below(folder, name string) string {
	if folder == "." {
		return name
	}
	if folder == "/" {
		return "/" + name
	}
	return folder + "/" + name
}
