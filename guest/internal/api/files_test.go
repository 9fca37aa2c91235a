package api

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"rexec-guest/internal/frames"
)

func at(route string, pairs ...string) string {
	query := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		query.Set(pairs[i], pairs[i+1])
	}
	return "/v1/files" + route + "?" + query.Encode()
}

func TestFiles(t *testing.T) {
	s := serve(t)
	dir := t.TempDir()
	for _, name := range []string{"plain", "a b", "new\nline", "\xff\xfe", "quote\"'", strings.Repeat("n", 255)} {
		full := filepath.Join(dir, name)
		content := bytes.Repeat([]byte(name+"\x00"), 3000)
		if a := s.call("PUT", at("", "path", full, "mode", "0640"), content); a.status != 200 {
			t.Fatalf("%q: %d %s", name, a.status, a.body)
		}
		if a := s.call("GET", at("", "path", full), nil); !bytes.Equal(a.body, content) || a.header["rexec-mode"] != "0640" {
			t.Errorf("%q: %d, %d bytes", name, a.status, len(a.body))
		}
		if a := s.call("GET", at("", "path", full), nil, "Range: bytes=5-14"); a.status != 206 || !bytes.Equal(a.body, content[5:15]) {
			t.Errorf("%q: %d %q", name, a.status, a.body)
		}
		if a := s.call("PUT", at("", "path", full), []byte("short")); a.status != 200 || a.json(t)["entry"].(object)["mode"] != "0640" {
			t.Errorf("%q: %s", name, a.body)
		}
	}
	listing := s.call("GET", at("/list", "path", dir), nil).json(t)
	entries := listing["files"].([]any)
	if len(entries) != 6 || listing["truncated"] != false {
		t.Fatalf("%v", listing)
	}
	encoded := 0
	for _, entry := range entries {
		if entry.(object)["name_b64"] != nil {
			encoded++
		}
	}
	if encoded != 1 {
		t.Errorf("%d names in base64", encoded)
	}
}

func TestWhatIsRefused(t *testing.T) {
	s := serve(t)
	dir := t.TempDir()
	link := filepath.Join(dir, "loop")
	if err := os.Symlink(link, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		method, path, code string
		status             int
	}{
		{"PUT", at("", "path", "/proc/none"), "not_found", 404},
		{"GET", at("", "path", dir+"/none"), "not_found", 404},
		{"GET", at("", "path", dir), "is_a_directory", 409},
		{"GET", at("", "path", "relative"), "bad_request", 400},
		{"GET", at("", "path", "/dev/zero"), "bad_request", 400},
		{"GET", at("", "path", link), "bad_request", 400},
		{"GET", at("", "path", dir+"/file/x"), "not_a_directory", 409},
		{"PUT", at("", "path", dir), "is_a_directory", 409},
		{"PUT", at("", "path", "/dev/null"), "bad_request", 400},
		{"PUT", at("", "path", dir+"/a/b"), "not_found", 404},
		{"PUT", at("", "path", dir+"/x", "mode", "999"), "bad_request", 400},
		{"DELETE", at("", "path", "/"), "bad_request", 400},
		{"DELETE", at("", "path", dir), "not_empty", 409},
		{"GET", at("/list", "path", dir+"/file"), "not_a_directory", 409},
		{"GET", at("/stat", "path", dir+"/none"), "not_found", 404},
	}
	for _, c := range cases {
		if a := s.call(c.method, c.path, nil); a.status != c.status || a.code(t) != c.code {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
		} else if bytes.Contains(a.body, []byte(".rexec-")) {
			t.Errorf("%s: nobody asked for that path: %s", c.path, a.body)
		}
	}
	if a := s.call("GET", at("", "path", dir+"/file"), nil, "Range: bytes=5-"); a.status != 416 {
		t.Errorf("%d", a.status)
	}
}

func TestLinksAreShownAndNotFollowedByDelete(t *testing.T) {
	s := serve(t)
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(target, "kept"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if e := s.call("GET", at("/stat", "path", link), nil).json(t); e["type"] != "symlink" || e["target"] != target {
		t.Errorf("%v", e)
	}
	if a := s.call("DELETE", at("", "path", link, "recursive", "true"), nil); a.status != 200 {
		t.Errorf("%s", a.body)
	}
	if _, err := os.Stat(filepath.Join(target, "kept")); err != nil {
		t.Error("the link was followed")
	}
}

func TestABrokenUploadLeavesTheOldFile(t *testing.T) {
	s := serve(t)
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	if err := os.WriteFile(name, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	conn := s.conn()
	_, _ = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", at("", "path", name))
	await(t, "the temporary file", func() bool {
		entries, _ := os.ReadDir(dir)
		return len(entries) == 2
	})
	_ = conn.Close()
	await(t, "the temporary file to go", func() bool {
		entries, _ := os.ReadDir(dir)
		return len(entries) == 1
	})
	if data, _ := os.ReadFile(name); string(data) != "old" {
		t.Errorf("%q", data)
	}
}

func TestMkdirAndMove(t *testing.T) {
	s := serve(t)
	dir := t.TempDir()
	for range 2 {
		if a := s.post("/v1/files/mkdir", object{"path": dir + "/a/b/c", "mode": "0700"}); a.status != 200 {
			t.Fatalf("%s", a.body)
		}
	}
	if a := s.post("/v1/files/move", object{"from": dir + "/a/b", "to": dir + "/d"}); a.status != 200 {
		t.Errorf("%s", a.body)
	}
	if info, err := os.Stat(dir + "/d/c"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v", err)
	}
	if a := s.post("/v1/files/move", object{"from": dir + "/d", "to": dir + "/a"}); a.status != 409 || a.code(t) != "exists" {
		t.Errorf("%s", a.body)
	}
	if a := s.post("/v1/files/move", object{"from": dir + "/d", "to": dir + "/a", "overwrite": true}); a.status != 200 {
		t.Errorf("%s", a.body)
	}
}

func archived(t *testing.T, headers ...*tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, header := range headers {
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(header.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func compressed(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestArchives(t *testing.T) {
	s := serve(t)
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	if err := os.MkdirAll(source+"/deep/er", 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(source+"/deep/\xff", bytes.Repeat([]byte("y"), 200_000), 0o4755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(source+"/deep/\xff", source+"/hard"); err != nil {
		t.Fatal(err)
	}
	must(t, os.Symlink("/etc/passwd", source+"/soft"), syscall.Mkfifo(source+"/deep/pipe", 0o640))
	packed := s.call("GET", at("/archive", "path", source), nil)
	if a := s.call("PUT", at("/archive", "path", dir+"/into"), packed.body); a.status != 200 || a.json(t)["entries"] != 7.0 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	first, err := os.Stat(dir + "/into/source/deep/\xff")
	if err != nil || first.Size() != 200_000 {
		t.Fatalf("%v", err)
	}
	second, err := os.Stat(dir + "/into/source/hard")
	if err != nil || !os.SameFile(first, second) {
		t.Error("the hard link is none")
	}
	if pipe, err := os.Lstat(dir + "/into/source/deep/pipe"); err != nil || pipe.Mode() != os.ModeNamedPipe|0o640 {
		t.Errorf("%v %v", pipe, err)
	}
	if target, _ := os.Readlink(dir + "/into/source/soft"); target != "/etc/passwd" {
		t.Errorf("%q", target)
	}
	zipped := compressed(t, packed.body)
	if a := s.call("PUT", at("/archive", "path", dir+"/again"), zipped); a.status != 200 || a.json(t)["entries"] != 7.0 {
		t.Errorf("%d %s", a.status, a.body)
	}
	damaged := bytes.Clone(zipped)
	damaged[len(damaged)/2] ^= 0xff
	for _, torn := range [][]byte{zipped[:len(zipped)/2], damaged, {0x1f, 0x8b, 1, 2}} {
		if a := s.call("PUT", at("/archive", "path", dir+"/torn"), torn); a.status != 400 || a.code(t) != "bad_request" {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}

func TestAnArchiveStaysInItsFolder(t *testing.T) {
	s := serve(t)
	dir := t.TempDir()
	into := filepath.Join(dir, "into")
	plain := func(name string) *tar.Header { return &tar.Header{Name: name, Size: 2, Mode: 0o644} }
	link := func(name, target string) *tar.Header {
		return &tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink, Mode: 0o777}
	}
	hostile := [][]byte{
		archived(t, plain("../out")),
		archived(t, plain("a/../../out")),
		archived(t, link("l", ".."), plain("l/out")),
		archived(t, link("l", dir), plain("l/out")),
		archived(t, &tar.Header{Name: "h", Linkname: "../secret", Typeflag: tar.TypeLink}),
		bytes.Repeat([]byte("garbage"), 1000),
		archived(t, plain("cut"))[:600],
	}
	if err := os.WriteFile(dir+"/secret", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, data := range hostile[:6] {
		if a := s.call("PUT", at("/archive", "path", into), data); a.status != 400 {
			t.Errorf("%d: %d %s", i, a.status, a.body)
		}
	}
	if _, err := os.Lstat(dir + "/out"); err == nil {
		t.Error("something left the folder")
	}
	if a := s.call("PUT", at("/archive", "path", dir+"/none"), hostile[5]); a.status != 400 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if _, err := os.Lstat(dir + "/none"); err == nil {
		t.Error("what is no archive left a folder")
	}
	if a := s.call("PUT", at("/archive", "path", into), archived(t, plain("/absolute"))); a.status != 200 {
		t.Errorf("%s", a.body)
	}
	if _, err := os.Lstat(into + "/absolute"); err != nil {
		t.Error("an absolute name is not taken as one beneath")
	}
}

func TestWatch(t *testing.T) {
	s := serve(t)
	dir := t.TempDir()
	w := s.upgrade(at("/watch", "path", dir, "recursive", "true"), nil)
	w.expect("ready")
	check := func(kind, name string) object {
		t.Helper()
		for {
			_, _, message := w.next()
			if message["type"] == kind && message["path"] == name {
				return message
			}
		}
	}
	if err := os.MkdirAll(dir+"/a/b", 0o755); err != nil {
		t.Fatal(err)
	}
	check("create", dir+"/a")
	check("create", dir+"/a/b")
	if err := os.WriteFile(dir+"/a/b/f", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	check("create", dir+"/a/b/f")
	if err := os.Rename(dir+"/a", dir+"/moved"); err != nil {
		t.Fatal(err)
	}
	if move := check("move", dir+"/moved"); move["from"] != dir+"/a" || move["is_dir"] != true {
		t.Errorf("%v", move)
	}
	if err := os.Remove(dir + "/moved/b/f"); err != nil {
		t.Fatal(err)
	}
	check("delete", dir+"/moved/b/f")
	if err := os.Rename(dir+"/moved/b", filepath.Join(t.TempDir(), "away")); err != nil {
		t.Fatal(err)
	}
	check("delete", dir+"/moved/b")
	uploaded := at("", "path", dir+"/uploaded")
	for range 2 {
		if a := s.call("PUT", uploaded, bytes.Repeat([]byte("x"), 3<<20)); a.status != 200 {
			t.Fatalf("%s", a.body)
		}
		if _, _, message := w.next(); message["type"] != "create" || message["path"] != dir+"/uploaded" {
			t.Errorf("%v", message)
		}
	}
	// Of our names only those that we make are ours.
	for _, name := range []string{".rexec-", ".rexec-0123456789abcdeX", ".rexec-0123456789abcdef0"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		check("create", filepath.Join(dir, name))
	}
	if err := os.Rename(dir+"/uploaded", dir+"/.rexec-0123456789abcdef"); err != nil {
		t.Fatal(err)
	}
	check("delete", dir+"/uploaded")
}

func TestPortsAndTunnels(t *testing.T) {
	s := serve(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		var all bytes.Buffer
		_, _ = all.ReadFrom(conn)
		_, _ = conn.Write(bytes.ToUpper(all.Bytes()))
		_ = conn.Close()
	}()
	port := listener.Addr().(*net.TCPAddr).Port
	wanted := map[float64]string{float64(port): "127.0.0.1 ipv4"}
	if other, err := net.Listen("tcp", "[::1]:0"); err == nil {
		defer other.Close()
		wanted[float64(other.Addr().(*net.TCPAddr).Port)] = "::1 ipv6"
	}
	for _, item := range s.call("GET", "/v1/ports", nil).json(t)["ports"].([]any) {
		item := item.(object)
		if wanted[item["port"].(float64)] == fmt.Sprint(item["address"], " ", item["family"]) {
			delete(wanted, item["port"].(float64))
		}
	}
	if len(wanted) > 0 {
		t.Errorf("not listed: %v", wanted)
	}
	st := s.upgrade(fmt.Sprintf("/v1/ports/%d/tunnel", port), nil)
	st.input("half")
	st.input("-close")
	if err := st.out.Send(frames.End); err != nil {
		t.Fatal(err)
	}
	text := ""
	for {
		kind, payload, _ := st.next()
		if kind != frames.Output {
			if kind != frames.End {
				t.Errorf("%q", kind)
			}
			break
		}
		text += string(payload)
	}
	if kind, _, _ := st.next(); kind != 0 || text != "HALF-CLOSE" {
		t.Errorf("%q %q", text, kind)
	}
	a := s.call("GET", "/v1/ports/1/tunnel", nil, "Connection: Upgrade", "Upgrade: rexec-stream")
	if a.status != 502 || a.code(t) != "connection_refused" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestStats(t *testing.T) {
	s := serve(t)
	stats := s.call("GET", "/v1/stats", nil).json(t)
	for _, key := range []string{"cpu_usage_ns", "memory", "memory_limit", "memory_peak", "pids", "pids_limit", "disk_usage",
		"disk_total", "net_rx", "net_tx", "disk_read", "disk_write", "oom_kills"} {
		if value, ok := stats[key].(float64); !ok || value < -1 {
			t.Errorf("%s is %v", key, stats[key])
		}
	}
	if stats["disk_total"].(float64) <= 0 {
		t.Errorf("%v", stats)
	}
}
