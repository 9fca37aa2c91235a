// Package watch tells of changes in folders, as the kernel's inotify sees them.
package watch

import (
	"encoding/binary"
	"errors"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"rexec-guest/internal/fault"
	"rexec-guest/internal/files"
	"rexec-guest/internal/folder"
	"rexec-guest/internal/threads"
)

const (
	mask = syscall.IN_CREATE | syscall.IN_MODIFY | syscall.IN_DELETE | syscall.IN_MOVED_FROM | syscall.IN_MOVED_TO |
		syscall.IN_ATTRIB | syscall.IN_DELETE_SELF | syscall.IN_MOVE_SELF | syscall.IN_DONT_FOLLOW
	headSize    = syscall.SizeofInotifyEvent
	mostWatches = 8192
	// largest is the room that an event may need: a read that leaves more has emptied the queue.
	largest = headSize + 256
	// pairing is how long the second half of a move is awaited.
	pairing = 20 * time.Millisecond
)

// Change is one event.
type Change struct {
	Type    string `json:"type"`
	Path    string `json:"path,omitempty"`
	PathB64 string `json:"path_b64,omitempty"`
	From    string `json:"from,omitempty"`
	FromB64 string `json:"from_b64,omitempty"`
	IsDir   bool   `json:"is_dir"`
}

// Watch is a set of watched folders.
type Watch struct {
	file      *os.File
	fd        int
	root      string
	recursive bool
	paths     map[int32]string
	tell      func(any) error
	left      *departure
	last      Change
	announced found
}

// found is what was found in new folders, of which the kernel may tell too: in what it had queued by then, not later.
type found struct{ now, before map[string]bool }

func (f *found) add(name string) {
	if f.now == nil || len(f.now) >= mostWatches {
		f.now = map[string]bool{}
	}
	f.now[name] = true
}

// take says whether it was found, once.
func (f *found) take(name string) bool {
	was := f.now[name] || f.before[name]
	delete(f.now, name)
	delete(f.before, name)
	return was
}

// age forgets what was found before the queue was last emptied.
func (f *found) age() { f.now, f.before = nil, f.now }

// departure is the first half of a move.
type departure struct {
	cookie uint32
	path   string
	isDir  bool
}

// Open begins to watch a file or folder, and with recursive all folders beneath it.
func Open(name string, recursive bool, tell func(any) error) (*Watch, error) {
	name, err := files.Clean(name)
	if err != nil {
		return nil, err
	}
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil, fault.New(503, "too_busy", "the host has no more watches to give: %s", err)
	}
	w := &Watch{
		file: os.NewFile(uintptr(fd), "inotify"), fd: fd, root: name, recursive: recursive,
		paths: map[int32]string{}, tell: tell,
	}
	if err := w.begin(); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// begin watches the root and what is beneath it.
func (w *Watch) begin() error {
	if err := w.add(w.root, syscall.IN_DONT_FOLLOW); err != nil || !w.recursive {
		return err
	}
	_, err := threads.Slow1(func() (bool, error) { return true, w.beneath(w.root, false) })
	return err
}

// Close ends it; Run returns.
func (w *Watch) Close() { _ = w.file.Close() }

// add watches one more file or folder; the flags are dropped from the mask.
func (w *Watch) add(name string, without uint32) error {
	if len(w.paths) >= mostWatches {
		return fault.New(503, "too_busy", "more than %d folders", mostWatches)
	}
	wd, err := syscall.InotifyAddWatch(w.fd, name, mask&^without)
	if errors.Is(err, syscall.ENOSPC) {
		return fault.New(503, "too_busy", "the host has no more watches to give")
	}
	if err != nil {
		return &os.PathError{Op: "watch", Path: name, Err: err}
	}
	w.paths[int32(wd)] = name
	return nil
}

// beneath watches the folders of a folder, but not those that the kernel makes up and never tells of; with announce it tells of what is in them, which came before the watch did.
func (w *Watch) beneath(name string, announce bool) error {
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		if files.IsTemporary(entry.Name()) {
			continue
		}
		full := path.Join(name, entry.Name())
		if announce {
			w.announced.add(full)
			if err := w.send("create", full, entry.IsDir()); err != nil {
				return err
			}
		}
		if !entry.IsDir() {
			continue
		}
		if folder.Virtual(full, full) {
			continue
		}
		if err := w.add(full, 0); tooMany(err) {
			return err
		}
		if err := w.beneath(full, announce); err != nil {
			return err
		}
	}
	return nil
}

// Run tells of changes until the watch is closed, the root is gone or telling fails.
func (w *Watch) Run() error {
	if err := w.tell(map[string]string{"type": "ready"}); err != nil {
		return err
	}
	buffer := make([]byte, 16<<10)
	for {
		deadline := time.Time{}
		if w.left != nil {
			deadline = time.Now().Add(pairing)
		}
		_ = w.file.SetReadDeadline(deadline)
		count, err := w.file.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if err := w.departed(); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		w.last = Change{}
		if ended, err := w.take(buffer[:count]); ended || err != nil {
			return err
		}
		if count < len(buffer)-largest {
			w.announced.age()
		}
	}
}

func (w *Watch) take(data []byte) (bool, error) {
	for len(data) >= headSize {
		wd := int32(binary.NativeEndian.Uint32(data))
		flags := binary.NativeEndian.Uint32(data[4:])
		cookie := binary.NativeEndian.Uint32(data[8:])
		length := int(binary.NativeEndian.Uint32(data[12:]))
		if len(data) < headSize+length {
			return false, nil
		}
		name := strings.TrimRight(string(data[headSize:headSize+length]), "\x00")
		data = data[headSize+length:]
		if ended, err := w.event(wd, flags, cookie, name); ended || err != nil {
			return ended, err
		}
	}
	return false, nil
}

func (w *Watch) event(wd int32, flags, cookie uint32, name string) (bool, error) {
	if flags&syscall.IN_Q_OVERFLOW != 0 {
		return w.overflow()
	}
	folder, known := w.paths[wd]
	if !known {
		return false, nil
	}
	if flags&(syscall.IN_IGNORED|syscall.IN_UNMOUNT|syscall.IN_DELETE_SELF|syscall.IN_MOVE_SELF) != 0 {
		return w.itself(wd, flags)
	}
	isDir := flags&syscall.IN_ISDIR != 0
	full := folder
	if name != "" {
		full = path.Join(folder, name)
	}
	if w.left != nil && (flags&syscall.IN_MOVED_TO == 0 || cookie != w.left.cookie) {
		if err := w.departed(); err != nil {
			return false, err
		}
	}
	if name != "" && files.IsTemporary(name) {
		return false, w.temporary(flags, cookie, full, isDir)
	}
	return false, w.change(flags, cookie, full, isDir)
}

// temporary is what happens to a file or folder of ours on its way to its name: nothing is told until it arrives there.
func (w *Watch) temporary(flags, cookie uint32, full string, isDir bool) error {
	switch {
	case flags&syscall.IN_MOVED_FROM != 0:
		w.left = &departure{cookie, full, isDir}
	case flags&syscall.IN_MOVED_TO != 0 && w.left != nil:
		return w.departed()
	}
	return nil
}

// itself is what happens to a watched folder as such. Its own folder tells of it, unless it is the root: that is the end.
func (w *Watch) itself(wd int32, flags uint32) (bool, error) {
	if w.paths[wd] != w.root {
		if flags&syscall.IN_IGNORED != 0 {
			delete(w.paths, wd)
		}
		return false, nil
	}
	if w.left != nil {
		if err := w.departed(); err != nil {
			return true, err
		}
	}
	switch {
	case flags&syscall.IN_UNMOUNT != 0:
		return true, w.end("unmounted")
	case flags&syscall.IN_MOVE_SELF != 0:
		return true, w.end("moved")
	}
	return true, w.end("deleted")
}

// end tells that the root is gone, and why nothing more comes.
func (w *Watch) end(reason string) error {
	if err := w.send("delete", w.root, false); err != nil {
		return err
	}
	return w.tell(map[string]string{"type": "end", "reason": reason})
}

func (w *Watch) change(flags, cookie uint32, full string, isDir bool) error {
	switch {
	case flags&syscall.IN_MOVED_FROM != 0:
		w.left = &departure{cookie, full, isDir}
		return nil
	case flags&syscall.IN_MOVED_TO != 0 && w.left != nil && !files.IsTemporary(w.left.path):
		return w.moved(full, isDir)
	case flags&(syscall.IN_CREATE|syscall.IN_MOVED_TO) != 0:
		w.left = nil
		if w.announced.take(full) {
			return nil
		}
		if err := w.send("create", full, isDir); err != nil || !isDir || !w.recursive {
			return err
		}
		return w.enter(full)
	case flags&syscall.IN_DELETE != 0:
		w.announced.take(full)
		return w.send("delete", full, isDir)
	case flags&syscall.IN_MODIFY != 0:
		return w.send("modify", full, isDir)
	case flags&syscall.IN_ATTRIB != 0:
		return w.send("attrib", full, isDir)
	}
	return nil
}

// enter follows a new folder; that no more can be watched is told as lost events.
func (w *Watch) enter(full string) error {
	err := w.add(full, 0)
	if err == nil {
		_, err = threads.Slow1(func() (bool, error) { return true, w.beneath(full, true) })
	}
	if tooMany(err) {
		return w.lost("too_many_folders")
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return err
}

// departed is a move out of what is watched: to who watches, the file is gone.
func (w *Watch) departed() error {
	left := w.left
	w.left = nil
	if files.IsTemporary(left.path) {
		return nil
	}
	w.announced.take(left.path)
	if left.isDir {
		w.forget(left.path)
	}
	return w.send("delete", left.path, left.isDir)
}

func (w *Watch) forget(gone string) {
	for wd, name := range w.paths {
		if name == gone || strings.HasPrefix(name, gone+"/") {
			_, _ = syscall.InotifyRmWatch(w.fd, uint32(wd))
			delete(w.paths, wd)
		}
	}
}

func (w *Watch) moved(to string, isDir bool) error {
	from := w.left.path
	w.left = nil
	w.announced.take(from)
	for wd, name := range w.paths {
		if isDir && (name == from || strings.HasPrefix(name, from+"/")) {
			w.paths[wd] = to + name[len(from):]
		}
	}
	change := Change{Type: "move", IsDir: isDir}
	change.Path, change.PathB64 = files.Text(to)
	change.From, change.FromB64 = files.Text(from)
	w.last = change
	return w.tell(change)
}

// overflow begins anew, since what was renamed meanwhile has another path, and then tells that events were lost: who looks
// for itself from there on misses nothing.
func (w *Watch) overflow() (bool, error) {
	for wd := range w.paths {
		_, _ = syscall.InotifyRmWatch(w.fd, uint32(wd))
	}
	clear(w.paths)
	w.left, w.announced = nil, found{}
	err := w.begin()
	if tooMany(err) {
		return false, w.lost("too_many_folders")
	}
	if err != nil {
		return true, w.end("deleted")
	}
	return false, w.lost("too_many_changes")
}

func tooMany(err error) bool {
	var refused *fault.Error
	return errors.As(err, &refused)
}

func (w *Watch) lost(reason string) error {
	return w.tell(map[string]string{"type": "overflow", "reason": reason})
}

// send tells of a change, once where the kernel tells the same again and again.
func (w *Watch) send(kind, full string, isDir bool) error {
	change := Change{Type: kind, IsDir: isDir}
	change.Path, change.PathB64 = files.Text(full)
	if change == w.last && kind != "create" && kind != "delete" {
		return nil
	}
	w.last = change
	return w.tell(change)
}
