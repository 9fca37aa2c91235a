package api

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rexec-guest/internal/archive"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/files"
	"rexec-guest/internal/frames"
	"rexec-guest/internal/http1"
	"rexec-guest/internal/threads"
	"rexec-guest/internal/watch"
)

func addFiles(a *API) {
	a.add("GET", "/v1/files", (*API).download)
	a.add("PUT", "/v1/files", (*API).upload)
	a.add("DELETE", "/v1/files", (*API).deleteFile)
	a.add("GET", "/v1/files/stat", (*API).stat)
	a.add("GET", "/v1/files/list", (*API).list)
	a.add("POST", "/v1/files/mkdir", (*API).mkdir)
	a.add("POST", "/v1/files/move", (*API).move)
	a.add("GET", "/v1/files/archive", (*API).pack)
	a.add("PUT", "/v1/files/archive", (*API).unpack)
	a.add("GET", "/v1/files/watch", (*API).watch)
}

// download sends exactly the length it says, of what the file was when it was opened.
func (a *API) download(x *http1.Exchange, _ []string) error {
	file, info, err := files.Open(x.Query.Get("path"))
	if err != nil {
		return err
	}
	defer file.Close()
	headers := []string{
		"Content-Type", "application/octet-stream", "Accept-Ranges", "bytes", "Rexec-Mode", modeOf(info),
		"Rexec-Mtime", info.ModTime().UTC().Format(time.RFC3339Nano), "ETag", tag(info),
	}
	size := info.Size()
	if size == 0 {
		return whole(x, file, headers)
	}
	wanted := x.Header("Range")
	if condition := x.Header("If-Range"); condition != "" && condition != tag(info) {
		wanted = ""
	}
	from, to, partial, err := span(wanted, size)
	if err != nil {
		return err
	}
	status := 200
	if partial {
		status = 206
		headers = append(headers, "Content-Range",
			"bytes "+strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(to-1, 10)+"/"+strconv.FormatInt(size, 10))
	}
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return err
	}
	return files.Copy(x.Start(status, to-from, headers...), file, to-from)
}

// whole sends a file that says nothing of its size, as those of /proc and /sys, or is empty.
func whole(x *http1.Exchange, file *os.File, headers []string) error {
	var first [4096]byte
	count, err := threads.Slow1(func() (int, error) { return file.Read(first[:]) })
	if err == io.EOF {
		x.Start(200, 0, headers...)
		return nil
	}
	if err != nil {
		return err
	}
	out := x.Start(200, -1, headers...)
	if _, err := out.Write(first[:count]); err != nil {
		return err
	}
	return files.Copy(out, file, -1)
}

// tag names a file's content as long as it is the same: what is uploaded is another file, what is written into it has
// another time.
func tag(info os.FileInfo) string {
	number := uint64(0)
	if found, ok := info.Sys().(*syscall.Stat_t); ok {
		number = found.Ino
	}
	return fmt.Sprintf(`"%x-%x-%x"`, number, info.Size(), info.ModTime().UnixNano())
}

func modeOf(info os.FileInfo) string {
	mode := uint64(info.Mode().Perm())
	for bit, flag := range map[uint64]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if info.Mode()&flag != 0 {
			mode |= bit
		}
	}
	text := strconv.FormatUint(mode, 8)
	return strings.Repeat("0", max(0, 4-len(text))) + text
}

// span is the half-open part of the file that a Range header means; what is not one range of bytes is not obeyed.
func span(header string, size int64) (from, to int64, partial bool, err error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(header), "bytes=")
	first, last, ok2 := strings.Cut(text, "-")
	if !ok || !ok2 || strings.Contains(text, ",") {
		return 0, size, false, nil
	}
	refused := fault.Range(size)
	if first == "" {
		count, err := strconv.ParseInt(last, 10, 64)
		if err != nil || count <= 0 {
			return 0, 0, false, refused
		}
		return max(0, size-count), size, true, nil
	}
	if from, err = strconv.ParseInt(first, 10, 64); err != nil || from < 0 || from >= size {
		return 0, 0, false, refused
	}
	if last == "" {
		return from, size, true, nil
	}
	if to, err = strconv.ParseInt(last, 10, 64); err != nil || to < from {
		return 0, 0, false, refused
	}
	return from, min(to, size-1) + 1, true, nil
}

func octal(text string) (int, error) {
	if text == "" {
		return -1, nil
	}
	mode, err := strconv.ParseUint(text, 8, 12)
	if err != nil {
		return 0, fault.BadRequest("no such mode: %q", text)
	}
	return int(mode), nil
}

func flag(x *http1.Exchange, name string) bool {
	value := x.Query.Get(name)
	return value == "true" || value == "1"
}

func (a *API) upload(x *http1.Exchange, _ []string) error {
	mode, err := octal(x.Query.Get("mode"))
	if err != nil {
		return err
	}
	entry, err := files.Write(&files.Put{
		Path: x.Query.Get("path"), Mode: mode, User: x.Query.Get("user"), NewUser: x.Query.Get("new_user"),
		MakeDirs: flag(x, "mkdirs"),
	}, x.Body())
	if err != nil {
		return err
	}
	return x.JSON(200, map[string]any{"entry": entry})
}

func (a *API) deleteFile(x *http1.Exchange, _ []string) error {
	if err := files.Delete(x.Query.Get("path"), flag(x, "recursive")); err != nil {
		return err
	}
	return x.JSON(200, struct{}{})
}

func (a *API) stat(x *http1.Exchange, _ []string) error {
	entry, err := files.Stat(x.Query.Get("path"))
	if err != nil {
		return err
	}
	return x.JSON(200, entry)
}

func (a *API) list(x *http1.Exchange, _ []string) error {
	depth := 1
	if text := x.Query.Get("depth"); text != "" {
		var err error
		if depth, err = strconv.Atoi(text); err != nil {
			return fault.BadRequest("no such depth: %q", text)
		}
	}
	listing, err := files.List(x.Query.Get("path"), depth)
	if err != nil {
		return err
	}
	return x.JSON(200, listing)
}

// name is a path of a JSON body: text, or base64 of bytes that are no text.
func name(plain, encoded string) (string, error) {
	if encoded == "" {
		return plain, nil
	}
	bytes, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", fault.BadRequest("a path is not base64")
	}
	return string(bytes), nil
}

func (a *API) mkdir(x *http1.Exchange, _ []string) error {
	var wanted struct {
		Path    string `json:"path"`
		PathB64 string `json:"path_b64"`
		Mode    string `json:"mode"`
		User    string `json:"user"`
		Parents *bool  `json:"parents"`
	}
	if err := x.Decode(&wanted, maxBody); err != nil {
		return err
	}
	path, err := name(wanted.Path, wanted.PathB64)
	if err != nil {
		return err
	}
	mode, err := octal(wanted.Mode)
	if err != nil {
		return err
	}
	entry, err := files.MakeDir(path, mode, wanted.User, wanted.Parents == nil || *wanted.Parents)
	if err != nil {
		return err
	}
	return x.JSON(200, map[string]any{"entry": entry})
}

func (a *API) move(x *http1.Exchange, _ []string) error {
	var wanted struct {
		From      string `json:"from"`
		FromB64   string `json:"from_b64"`
		To        string `json:"to"`
		ToB64     string `json:"to_b64"`
		Overwrite bool   `json:"overwrite"`
	}
	if err := x.Decode(&wanted, maxBody); err != nil {
		return err
	}
	from, err := name(wanted.From, wanted.FromB64)
	if err != nil {
		return err
	}
	to, err := name(wanted.To, wanted.ToB64)
	if err != nil {
		return err
	}
	entry, err := files.Move(from, to, wanted.Overwrite)
	if err != nil {
		return err
	}
	return x.JSON(200, map[string]any{"entry": entry})
}

func (a *API) pack(x *http1.Exchange, _ []string) error {
	path, err := files.Clean(x.Query.Get("path"))
	if err != nil {
		return err
	}
	if _, err := threads.Slow1(func() (os.FileInfo, error) { return os.Lstat(path) }); err != nil {
		return err
	}
	out := bufio.NewWriterSize(x.Start(200, -1, "Content-Type", "application/x-tar"), 64<<10)
	if err := archive.Pack(out, path); err != nil {
		return err
	}
	return out.Flush()
}

func (a *API) unpack(x *http1.Exchange, _ []string) error {
	path, err := files.Clean(x.Query.Get("path"))
	if err != nil {
		return err
	}
	unpacked, err := archive.Unpack(x.Body(), path, x.Query.Get("user"), x.Left)
	if err != nil {
		return err
	}
	return x.JSON(200, unpacked)
}

func (a *API) watch(x *http1.Exchange, _ []string) error {
	if err := x.CanUpgrade(); err != nil {
		return err
	}
	var out *frames.Writer
	tell := func(message any) error { return out.Control(message) }
	w, err := watch.Open(x.Query.Get("path"), flag(x, "recursive"), tell)
	if err != nil {
		return err
	}
	defer w.Close()
	conn, reader, err := x.Upgrade()
	if err != nil {
		return err
	}
	out = frames.NewWriter(conn)
	go func() {
		source := frames.NewReader(reader)
		for {
			if _, err := source.Next(); err != nil {
				w.Close()
				_ = conn.Close()
				return
			}
		}
	}()
	return w.Run()
}
