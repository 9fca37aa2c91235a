package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"rexec-guest/internal/extent"
)

const (
	block = 512
	// mostRuns keeps the map of a file under the mebibyte that readers of archives take.
	mostRuns = 20_000
	// mostOctal is the largest size that fits into the field of a header.
	mostOctal = 1<<33 - 1
)

// hollow tells whether leaving the holes out is worth a map.
func hollow(runs []extent.Extent, size int64) bool {
	data := int64(0)
	for _, run := range runs {
		data += run.To - run.From
	}
	return size-data >= int64(block*(len(runs)+4))
}

// sparse writes a file without its holes, in the form 1.0 of GNU tar, which the tar package reads but does not write: an
// extended header, then the map of its runs and the runs themselves as the content.
func (p *packer) sparse(source *os.File, header *tar.Header, runs []extent.Extent) error {
	if err := p.out.Flush(); err != nil {
		return err
	}
	// A run of nothing at the end says how long the file is.
	runs = append(runs, extent.Extent{From: header.Size, To: header.Size})
	var index bytes.Buffer
	fmt.Fprintf(&index, "%d\n", len(runs))
	stored := int64(0)
	for _, run := range runs {
		fmt.Fprintf(&index, "%d\n%d\n", run.From, run.To-run.From)
		stored += run.To - run.From
	}
	pad(&index)
	stored += int64(index.Len())
	var head bytes.Buffer
	records := described(header, stored)
	head.Write(heading("./PaxHeaders/"+path.Base(header.Name), tar.TypeXHeader, int64(len(records)), &tar.Header{Mode: 0o644}))
	head.WriteString(records)
	pad(&head)
	head.Write(heading("GNUSparseFile.0/"+path.Base(header.Name), tar.TypeReg, stored, header))
	head.Write(index.Bytes())
	if _, err := p.raw.Write(head.Bytes()); err != nil {
		return err
	}
	for _, run := range runs {
		if err := p.content(p.raw, source, run); err != nil {
			return err
		}
	}
	_, err := p.raw.Write(make([]byte, (block-stored%block)%block))
	return err
}

func pad(buffer *bytes.Buffer) { buffer.Write(make([]byte, (block-buffer.Len()%block)%block)) }

// described is the extended header: all that the plain one may be too small for.
func described(header *tar.Header, stored int64) string {
	time := strconv.FormatInt(header.ModTime.Unix(), 10)
	if part := header.ModTime.Nanosecond(); part != 0 && header.ModTime.Unix() >= 0 {
		time += fmt.Sprintf(".%09d", part)
	}
	size := ""
	if stored > mostOctal {
		size = strconv.FormatInt(stored, 10)
	}
	var records strings.Builder
	for _, pair := range [][2]string{
		{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"},
		{"GNU.sparse.name", header.Name}, {"GNU.sparse.realsize", strconv.FormatInt(header.Size, 10)},
		{"size", size}, {"mtime", time},
		{"uid", strconv.Itoa(header.Uid)}, {"gid", strconv.Itoa(header.Gid)},
		{"uname", header.Uname}, {"gname", header.Gname},
	} {
		if pair[1] != "" {
			records.WriteString(record(pair[0], pair[1]))
		}
	}
	return records.String()
}

// record is `length key=value`, where the length counts itself.
func record(key, value string) string {
	rest := " " + key + "=" + value + "\n"
	length := len(rest)
	for length != len(rest)+len(strconv.Itoa(length)) {
		length = len(rest) + len(strconv.Itoa(length))
	}
	return strconv.Itoa(length) + rest
}

// heading is a header of POSIX.1-1988, whose numbers are cut to what fits.
func heading(name string, kind byte, size int64, header *tar.Header) []byte {
	made := make([]byte, block)
	octal := func(at, width int, value int64) {
		copy(made[at:], fmt.Sprintf("%0*o", width-1, value))
	}
	copy(made[:100], name)
	octal(100, 8, header.Mode)
	octal(108, 8, int64(header.Uid)&0o7777777)
	octal(116, 8, int64(header.Gid)&0o7777777)
	octal(124, 12, min(size, mostOctal))
	seconds := int64(0)
	if !header.ModTime.IsZero() {
		seconds = min(max(header.ModTime.Unix(), 0), mostOctal)
	}
	octal(136, 12, seconds)
	made[156] = kind
	copy(made[257:], "ustar\x0000")
	for i := 148; i < 156; i++ {
		made[i] = ' '
	}
	sum := int64(0)
	for _, b := range made {
		sum += int64(b)
	}
	octal(148, 7, sum)
	return made
}
