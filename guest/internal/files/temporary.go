package files

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"path"
	"strings"
)

const (
	temporaryPrefix = ".rexec-"
	temporaryRandom = 8
)

// temporary is a name in a folder that nothing has yet.
func temporary(folder string) string {
	var random [temporaryRandom]byte
	_, _ = rand.Read(random[:])
	return path.Join(folder, temporaryPrefix+hex.EncodeToString(random[:]))
}

// IsTemporary tells what is of ours and on its way to its name.
func IsTemporary(name string) bool {
	random, ours := strings.CutPrefix(path.Base(name), temporaryPrefix)
	return ours && len(random) == 2*temporaryRandom && strings.Trim(random, "0123456789abcdef") == ""
}

// named tells of what went wrong with a temporary as of the path that was asked for.
func named(err error, asked string) error {
	var wrong *fs.PathError
	if errors.As(err, &wrong) && IsTemporary(wrong.Path) {
		return &fs.PathError{Op: wrong.Op, Path: asked, Err: wrong.Err}
	}
	return err
}
