// Package files reads and changes the container's files.
package files

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"rexec-guest/internal/accounts"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/threads"
)

// Entry is a file as it is told of. The base64 forms are there only where the bytes are not UTF-8.
type Entry struct {
	Name      string    `json:"name"`
	Path      string    `json:"path"`
	Size      int64     `json:"size"`
	Mode      string    `json:"mode"`
	Type      string    `json:"type"`
	ModTime   time.Time `json:"mod_time"`
	UID       uint32    `json:"uid"`
	GID       uint32    `json:"gid"`
	User      string    `json:"user,omitempty"`
	Group     string    `json:"group,omitempty"`
	Target    string    `json:"target,omitempty"`
	NameB64   string    `json:"name_b64,omitempty"`
	PathB64   string    `json:"path_b64,omitempty"`
	TargetB64 string    `json:"target_b64,omitempty"`
}

const (
	mostEntries = 10_000
	mostBytes   = 3 << 20
	mostDepth   = 16
	batch       = 512
)

// Clean checks a path and gives it its plain form.
func Clean(name string) (string, error) {
	if !path.IsAbs(name) || strings.IndexByte(name, 0) >= 0 {
		return "", fault.BadRequest("%q is not an absolute path", name)
	}
	return path.Clean(name), nil
}

// Text is a name as JSON can carry it, and its base64 form where that is not all of it.
func Text(name string) (plain, encoded string) {
	if utf8.ValidString(name) {
		return name, ""
	}
	return strings.ToValidUTF8(name, "\uFFFD"), base64.StdEncoding.EncodeToString([]byte(name))
}

// Stat tells of one file; a final link is told of as a link.
func Stat(name string) (*Entry, error) {
	name, err := Clean(name)
	if err != nil {
		return nil, err
	}
	return threads.Slow1(func() (*Entry, error) { return stat(name) })
}

func stat(name string) (*Entry, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	return entry(name, info), nil
}

func entry(name string, info fs.FileInfo) *Entry {
	e := &Entry{Size: info.Size(), Type: kind(info.Mode()), ModTime: info.ModTime().UTC()}
	e.Name, e.NameB64 = Text(path.Base(name))
	e.Path, e.PathB64 = Text(name)
	if found, ok := info.Sys().(*syscall.Stat_t); ok {
		e.Mode = fmt.Sprintf("%04o", found.Mode&0o7777)
		e.UID, e.GID = found.Uid, found.Gid
		e.User, e.Group = accounts.UserName(found.Uid), accounts.GroupName(found.Gid)
	}
	if e.Type == "symlink" {
		if target, err := os.Readlink(name); err == nil {
			e.Target, e.TargetB64 = Text(target)
		}
	}
	return e
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "file"
	case mode.IsDir():
		return "dir"
	case mode&fs.ModeSymlink != 0:
		return "symlink"
	case mode&fs.ModeNamedPipe != 0:
		return "fifo"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeCharDevice != 0:
		return "char"
	}
	return "block"
}

// Listing is a folder's content.
type Listing struct {
	Path      string   `json:"path"`
	PathB64   string   `json:"path_b64,omitempty"`
	Files     []*Entry `json:"files"`
	Truncated bool     `json:"truncated"`
}

// List tells what is in a folder, and in those beneath it down to the depth (1 is the folder alone).
func List(name string, depth int) (*Listing, error) {
	name, err := Clean(name)
	if err != nil {
		return nil, err
	}
	depth = min(max(depth, 1), mostDepth)
	l := &lister{}
	l.Files = []*Entry{}
	l.Path, l.PathB64 = Text(name)
	_, err = threads.Slow1(func() (bool, error) { return true, l.read(name, depth) })
	if err != nil {
		return nil, err
	}
	sort.Slice(l.Files, func(i, j int) bool { return l.Files[i].Path < l.Files[j].Path })
	return &l.Listing, nil
}

type lister struct {
	Listing
	bytes int
}

func (l *lister) read(name string, depth int) error {
	directory, err := os.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer directory.Close()
	var below []string
	for !l.Truncated {
		found, err := directory.ReadDir(batch)
		for _, item := range found {
			full := path.Join(name, item.Name())
			if l.add(full) && item.IsDir() {
				below = append(below, full)
			}
		}
		if err != nil {
			break
		}
	}
	if depth > 1 {
		for _, full := range below {
			_ = l.read(full, depth-1)
		}
	}
	return nil
}

func (l *lister) add(full string) bool {
	if l.Truncated || len(l.Files) >= mostEntries || l.bytes >= mostBytes {
		l.Truncated = true
		return false
	}
	e, err := stat(full)
	if err != nil {
		return false
	}
	l.bytes += 200 + 3*len(full) + 2*len(e.Target)
	l.Files = append(l.Files, e)
	return true
}
