// Package fault is the one error type that reaches the server: a status, a code and a text.
package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// Error is an answer that is not a success.
type Error struct {
	Status int    `json:"-"`
	Code   string `json:"code"`
	Text   string `json:"error"`
	Size   *int64 `json:"size,omitempty"` // of the file, where a range is beyond it
}

func (e *Error) Error() string { return e.Text }

// New makes an Error with a formatted text.
func New(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Text: fmt.Sprintf(format, args...)}
}

// BadRequest is a request that cannot be understood.
func BadRequest(format string, args ...any) *Error { return New(400, "bad_request", format, args...) }

// Range is one that a file of the size does not have.
func Range(size int64) *Error {
	known := New(416, "range", "the file has %d bytes", size)
	known.Size = &size
	return known
}

// NotFound names something that is not there.
func NotFound(format string, args ...any) *Error { return New(404, "not_found", format, args...) }

// NoProcess is the answer when no thread or process can be had.
func NoProcess() *Error {
	return New(503, "pids_limit", "the container has reached its limit of processes")
}

var byErrno = []struct {
	errno  syscall.Errno
	status int
	code   string
}{
	{syscall.ENOENT, 404, "not_found"},
	{syscall.EEXIST, 409, "exists"},
	{syscall.ENOTDIR, 409, "not_a_directory"},
	{syscall.EISDIR, 409, "is_a_directory"},
	{syscall.ENOTEMPTY, 409, "not_empty"},
	{syscall.EACCES, 403, "permission_denied"},
	{syscall.EPERM, 403, "permission_denied"},
	{syscall.EROFS, 403, "permission_denied"},
	{syscall.EBUSY, 403, "permission_denied"},
	{syscall.ENOSPC, 507, "disk_full"},
	{syscall.EDQUOT, 507, "disk_full"},
	{syscall.EINVAL, 400, "bad_request"},
	{syscall.ENAMETOOLONG, 400, "bad_request"},
	{syscall.ELOOP, 400, "bad_request"},
	{syscall.ENXIO, 400, "bad_request"},
	{syscall.EXDEV, 400, "bad_request"},
	{syscall.EFBIG, 507, "disk_full"},
	{syscall.ETXTBSY, 403, "permission_denied"},
	{syscall.EIO, 400, "bad_request"}, // a file that cannot be read like that, as /proc/self/mem
	{syscall.ENODEV, 400, "bad_request"},
	{syscall.EOPNOTSUPP, 400, "bad_request"},
	{syscall.EMLINK, 409, "exists"},
	{syscall.EMFILE, 503, "too_busy"},
	{syscall.ENFILE, 503, "too_busy"},
	{syscall.ENOMEM, 503, "too_busy"},
}

// From gives any error its place in the list of codes; what has none is `internal`.
func From(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return New(500, "internal", "%s", err)
	}
	text := errno.Error()
	var path *fs.PathError
	if errors.As(err, &path) {
		text = fmt.Sprintf("%q: %s", filepath.Clean(path.Path), errno.Error())
	}
	for _, row := range byErrno {
		if row.errno == errno {
			return &Error{Status: row.status, Code: row.code, Text: text}
		}
	}
	return New(500, "internal", "%s", text)
}
