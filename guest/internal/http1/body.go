package http1

import (
	"bufio"
	"io"
	"strconv"
	"strings"

	"rexec-guest/internal/fault"
)

var errBody = fault.BadRequest("the body is not framed as it should be")

// exact is a body of a known length; ending before it is an error.
type exact struct {
	reader *bufio.Reader
	left   int64
}

func (e *exact) Read(out []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	if int64(len(out)) > e.left {
		out = out[:e.left]
	}
	count, err := e.reader.Read(out)
	e.left -= int64(count)
	if err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return count, err
}

// chunked is a body in chunks.
type chunked struct {
	reader *bufio.Reader
	left   int64
	begun  bool
	ended  bool
}

func (c *chunked) Read(out []byte) (int, error) {
	if c.ended {
		return 0, io.EOF
	}
	if c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
		if c.ended {
			return 0, io.EOF
		}
	}
	if int64(len(out)) > c.left {
		out = out[:c.left]
	}
	count, err := c.reader.Read(out)
	c.left -= int64(count)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return count, err
}

func (c *chunked) next() error {
	if c.begun {
		if line, err := c.line(); err != nil || line != "" {
			return firstOf(err, errBody)
		}
	}
	c.begun = true
	line, err := c.line()
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(line, ";")
	if c.left, err = strconv.ParseInt(strings.TrimSpace(size), 16, 64); err != nil || c.left < 0 {
		return errBody
	}
	if c.left > 0 {
		return nil
	}
	for range 64 {
		if line, err = c.line(); err != nil {
			return err
		}
		if line == "" {
			c.ended = true
			return nil
		}
	}
	return errBody
}

func (c *chunked) line() (string, error) {
	part, err := c.reader.ReadSlice('\n')
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return strings.TrimRight(string(part), "\r\n"), err
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
