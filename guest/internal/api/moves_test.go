package api

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rexec-guest/internal/carry"
	"rexec-guest/internal/folder"
)

// elsewhere is a folder on another file system than the test's own.
func elsewhere(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "guest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var here, there syscall.Stat_t
	_, _ = syscall.Stat(t.TempDir(), &here), syscall.Stat(dir, &there)
	if here.Dev == there.Dev {
		t.Skip("there is one file system only")
	}
	return dir
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

const tebibyte = 1 << 40

// peculiar makes a folder with one of everything that a copy could lose.
func peculiar(t *testing.T, dir string) {
	t.Helper()
	file, link := dir+"/file \xff\n", dir+"/link"
	must(t, os.MkdirAll(dir+"/sub", 0o755), os.WriteFile(file, []byte("content"), 0o600), os.Link(file, dir+"/sub/hard"))
	must(t, os.Symlink("../nowhere", link), syscall.Mkfifo(dir+"/pipe", 0o620), os.Chmod(dir+"/sub", os.ModeSticky|0o750))
	listener, err := net.Listen("unix", dir+"/socket")
	must(t, err)
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	must(t, listener.Close())
	sparse, err := os.Create(dir + "/sparse")
	must(t, err)
	_, err = sparse.WriteAt([]byte("middle"), tebibyte/2)
	must(t, err, sparse.Truncate(tebibyte+3), sparse.Close())
	if os.Getuid() == 0 {
		must(t, os.Chown(file, 1000, 7), os.Lchown(link, 1001, 8), os.Chown(dir+"/sub", 1002, 9))
	}
	must(t, syscall.Chmod(file, 0o4751))
	_ = syscall.Setxattr(file, "user.kept", []byte("value"), 0)
	then := time.Unix(1_234_567_890, 123_000_000)
	must(t, os.Chtimes(file, then, then), os.Chtimes(dir+"/sub", then, then))
}

// described is all that must be the same after a move.
func described(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	inodes := map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		must(t, err)
		inside := strings.TrimPrefix(name, dir)
		info, err := entry.Info()
		must(t, err)
		s := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%o %d:%d links %d", s.Mode, s.Uid, s.Gid, s.Nlink)
		if inside != "" && !entry.IsDir() || strings.HasSuffix(inside, "sub") {
			text += fmt.Sprint(" at ", info.ModTime().UnixNano())
		}
		if !entry.IsDir() {
			text += fmt.Sprintf(" %d bytes", s.Size)
			if first, known := inodes[s.Ino]; known {
				text += " as " + first
			}
			inodes[s.Ino] = inside
		}
		if target, err := os.Readlink(name); err == nil {
			text += " to " + target
		}
		value := make([]byte, 64)
		if count, err := syscall.Getxattr(name, "user.kept", value); err == nil {
			text += " with " + string(value[:count])
		}
		found[inside] = text
		return nil
	}))
	return found
}

func TestAMoveToAnotherFileSystemLosesNothing(t *testing.T) {
	s := serve(t)
	there := elsewhere(t)
	source := t.TempDir() + "/source"
	peculiar(t, source)
	before := described(t, source)
	supported := syscall.Setxattr(there, "user.kept", nil, 0) == nil
	target := there + "/target"
	if a := s.post("/v1/files/move", object{"from": source, "to": target}); a.status != 200 {
		t.Fatalf("%s", a.body)
	}
	after := described(t, target)
	for name, text := range before {
		if !supported {
			text, _, _ = strings.Cut(text, " with ")
		}
		if after[name] != text {
			t.Errorf("%q was %q and is %q", name, text, after[name])
		}
	}
	if _, err := os.Lstat(source); err == nil || len(after) != len(before) {
		t.Errorf("%v, and %v is left", after, source)
	}
	var sparse syscall.Stat_t
	must(t, syscall.Stat(target+"/sparse", &sparse))
	middle := s.call("GET", at("", "path", target+"/sparse"), nil, fmt.Sprintf("Range: bytes=%d-%d", tebibyte/2, tebibyte/2+5))
	if sparse.Blocks*512 > 1<<20 || string(middle.body) != "middle" {
		t.Errorf("%d blocks, %q", sparse.Blocks, middle.body)
	}
	if entries, _ := os.ReadDir(there); len(entries) != 1 {
		t.Errorf("something was left: %v", entries)
	}
	if a := s.call("DELETE", at("", "path", target, "recursive", "true"), nil); a.status != 200 {
		t.Errorf("%s", a.body)
	}
}

func TestWhatAMoveReplaces(t *testing.T) {
	s := serve(t)
	for _, there := range []string{t.TempDir(), elsewhere(t)} {
		cases := []struct {
			from, to, code string
			overwrite      bool
		}{
			{"file", "file", "exists", false}, {"file", "file", "", true}, {"file", "folder", "is_a_directory", true},
			{"folder", "file", "not_a_directory", true}, {"folder", "folder", "not_empty", true},
			{"folder", "empty", "", true}, {"folder", "empty", "exists", false}, {"file", "no/where", "not_found", true},
			{"none", "new", "not_found", true},
		}
		for _, c := range cases {
			here, there := t.TempDir(), filepath.Join(there, c.from+c.to+c.code)
			for _, dir := range []string{here, there} {
				must(t, os.MkdirAll(dir+"/folder", 0o755), os.MkdirAll(dir+"/empty", 0o755))
				must(t, os.WriteFile(dir+"/file", []byte(dir), 0o644), os.WriteFile(dir+"/folder/in", nil, 0o644))
			}
			a := s.post("/v1/files/move", object{"from": here + "/" + c.from, "to": there + "/" + c.to, "overwrite": c.overwrite})
			_, gone := os.Lstat(here + "/" + c.from)
			switch {
			case c.code == "" && (a.status != 200 || gone == nil):
				t.Errorf("%v: %s", c, a.body)
			case c.code != "" && (a.code(t) != c.code || (gone != nil && c.from != "none")):
				t.Errorf("%v: %s", c, a.body)
			}
			if left, _ := filepath.Glob(there + "/.rexec-*"); left != nil {
				t.Errorf("%v: %v was left", c, left)
			}
		}
	}
}

func TestNothingIsCopiedIntoItself(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/a/deep/into", 0o755))
	into, err := folder.Open(dir + "/a/deep/into")
	must(t, err)
	defer into.Close()
	if err := carry.Into(dir+"/a", into); err == nil || !strings.Contains(err.Error(), "into itself") {
		t.Errorf("%v", err)
	}
	s := serve(t)
	if a := s.post("/v1/files/move", object{"from": dir + "/a", "to": dir + "/a/deep/b"}); a.status != 400 {
		t.Errorf("%s", a.body)
	}
	if a := s.post("/v1/files/move", object{"from": "/dev/shm", "to": dir + "/shm"}); a.status != 403 {
		t.Errorf("what is mounted: %s", a.body)
	}
}

// deep makes folders in one another until no path reaches the last.
func deep(t *testing.T, dir string, levels int) {
	t.Helper()
	must(t, os.Mkdir(dir, 0o755))
	at, err := folder.Open(dir)
	must(t, err)
	for range levels {
		must(t, os.Mkdir(at.Child("0123456789"), 0o755))
		next, err := at.Enter("0123456789")
		must(t, err, at.Close())
		at = next
	}
	must(t, os.WriteFile(at.Child("last"), []byte("x"), 0o644), at.Close())
}

func TestTreesDeeperThanAnyPath(t *testing.T) {
	s := serve(t)
	dir, there := t.TempDir(), elsewhere(t)
	const levels = 400
	deep(t, dir+"/deep", levels)
	packed := s.call("GET", at("/archive", "path", dir+"/deep"), nil)
	in, last := tar.NewReader(bytes.NewReader(packed.body)), ""
	for {
		header, err := in.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		last = header.Name
	}
	if last != "deep/"+strings.Repeat("0123456789/", levels)+"last" {
		t.Errorf("%d bytes of name", len(last))
	}
	if a := s.call("PUT", at("/archive", "path", dir+"/again"), packed.body); a.status != 200 || a.json(t)["entries"] != levels+2.0 {
		t.Errorf("%s", a.body)
	}
	if a := s.post("/v1/files/move", object{"from": dir + "/deep", "to": there + "/deep"}); a.status != 200 {
		t.Errorf("%s", a.body)
	}
	for _, name := range []string{dir + "/again", there + "/deep"} {
		if a := s.call("DELETE", at("", "path", name, "recursive", "true"), nil); a.status != 200 {
			t.Errorf("%s", a.body)
		}
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}

func TestHolesInArchives(t *testing.T) {
	s := serve(t)
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/in", 0o755))
	name := dir + "/in/" + strings.Repeat("long", 60) + "\xff"
	file, err := os.Create(name)
	must(t, err)
	const size = 512 << 20
	for _, at := range []int64{1 << 20, 1 << 28, size - 4} {
		_, err = file.WriteAt([]byte("data"), at)
		must(t, err)
	}
	must(t, file.Close(), os.Chmod(name, 0o640), os.WriteFile(dir+"/in/plain", make([]byte, 100_000), 0o600))
	packed := s.call("GET", at("/archive", "path", dir+"/in"), nil)
	if len(packed.body) > 1<<20 {
		t.Fatalf("%d bytes for a few", len(packed.body))
	}
	if a := s.call("PUT", at("/archive", "path", dir+"/out"), packed.body); a.status != 200 {
		t.Fatalf("%s", a.body)
	}
	var found syscall.Stat_t
	must(t, syscall.Stat(strings.Replace(name, "/in/", "/out/in/", 1), &found))
	if found.Size != size || found.Mode&0o777 != 0o640 || found.Blocks*512 > 4<<20 {
		t.Errorf("%d bytes in %d blocks, %o", found.Size, found.Blocks, found.Mode)
	}
	again := s.call("GET", at("/archive", "path", dir+"/out/in"), nil)
	if contents(t, packed.body) != contents(t, again.body) {
		t.Error("it is not what it was")
	}
}

// contents are the names of an archive, and where in each file something is.
func contents(t *testing.T, packed []byte) string {
	t.Helper()
	in, found := tar.NewReader(bytes.NewReader(packed)), map[string]string{}
	buffer := make([]byte, 1<<20)
	zeros := make([]byte, 1<<20)
	for {
		header, err := in.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		text := fmt.Sprintf("%o %d:%d %d %s", header.Mode, header.Uid, header.Gid, header.Size, header.ModTime)
		if header.Typeflag == tar.TypeReg {
			for offset := int64(0); ; {
				count, err := io.ReadFull(in, buffer)
				if !bytes.Equal(buffer[:count], zeros[:count]) {
					text += fmt.Sprintf(" %d:%q", offset, bytes.Trim(buffer[:count], "\x00"))
				}
				offset += int64(count)
				if err != nil {
					break
				}
			}
		}
		found[header.Name] = text
	}
	text, _ := json.Marshal(found)
	return string(text)
}

func TestATebibyteOfHolesIsPackedAtOnce(t *testing.T) {
	s := serve(t)
	name := t.TempDir() + "/sparse"
	must(t, os.WriteFile(name, []byte("begin"), 0o600), os.Truncate(name, tebibyte))
	packed := s.call("GET", at("/archive", "path", name), nil)
	header, err := tar.NewReader(bytes.NewReader(packed.body)).Next()
	must(t, err)
	if header.Name != "sparse" || header.Size != tebibyte || len(packed.body) > 64<<10 {
		t.Errorf("%q, %d bytes, in %d", header.Name, header.Size, len(packed.body))
	}
}

func TestAFinalLinkLeadsWhereTheKernelSays(t *testing.T) {
	s := serve(t)
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/real/in", 0o755), os.Symlink(dir+"/real/in", dir+"/way"))
	must(t, os.Symlink("../new", dir+"/real/in/file"))
	if a := s.call("PUT", at("", "path", dir+"/way/file"), []byte("x")); a.status != 200 {
		t.Fatalf("%s", a.body)
	}
	if _, err := os.Stat(dir + "/real/new"); err != nil {
		t.Error("it is not where the link leads")
	}
}

func TestTagsAndRanges(t *testing.T) {
	s := serve(t)
	name := t.TempDir() + "/file"
	must(t, os.WriteFile(name, []byte("0123456789"), 0o600))
	first := s.call("GET", at("", "path", name), nil)
	tag := first.header["etag"]
	for condition, status := range map[string]int{tag: 206, `"other"`: 200, "Wed, 21 Oct 2015 07:28:00 GMT": 200} {
		if a := s.call("GET", at("", "path", name), nil, "Range: bytes=-3", "If-Range: "+condition); a.status != status {
			t.Errorf("%s: %d", condition, a.status)
		}
	}
	beyond := s.call("GET", at("", "path", name), nil, "Range: bytes=10-")
	if beyond.status != 416 || beyond.json(t)["size"] != 10.0 {
		t.Errorf("%d %s", beyond.status, beyond.body)
	}
	if a := s.call("PUT", at("", "path", name), []byte("0123456789")); a.status != 200 {
		t.Fatalf("%s", a.body)
	}
	if again := s.call("GET", at("", "path", name), nil); again.header["etag"] == tag || tag == "" {
		t.Errorf("%q names both", tag)
	}
	must(t, os.Truncate(name, 0))
	if empty := s.call("GET", at("", "path", name), nil); empty.header["content-length"] != "0" {
		t.Errorf("%v", empty.header)
	}
	if told := s.call("GET", at("", "path", "/proc/self/status"), nil); !bytes.Contains(told.body, []byte("Pid:")) {
		t.Errorf("%q", told.body)
	}
}
