// Package ring keeps the last bytes of a stream, numbered by their offset in it, in pieces made when they are needed.
package ring

const piece = 32 << 10

// Ring is not safe for use from several goroutines at once.
type Ring struct {
	limit  int64
	pieces [][]byte // the first one begins at base; all but the last are full
	base   int64
	end    int64
}

// New makes a ring that holds at least the last limit bytes (and less than a piece more).
func New(limit int64) *Ring { return &Ring{limit: limit} }

// End is the offset of the byte that comes next.
func (r *Ring) End() int64 { return r.end }

// Oldest is the offset of the oldest byte that is still here.
func (r *Ring) Oldest() int64 { return max(r.base, r.end-r.limit) }

// Write appends; it never fails.
func (r *Ring) Write(data []byte) {
	for len(data) > 0 {
		last := len(r.pieces) - 1
		if last < 0 || len(r.pieces[last]) == cap(r.pieces[last]) {
			r.grow()
			last = len(r.pieces) - 1
		}
		tail := r.pieces[last]
		room := min(cap(tail)-len(tail), len(data))
		r.pieces[last] = append(tail, data[:room]...)
		data = data[room:]
		r.end += int64(room)
	}
}

// grow adds an empty piece: the oldest one used again where the limit allows it to go. The first piece is small, for
// the many streams that never fill it, and pieces then double up to their full size.
func (r *Ring) grow() {
	var used []byte
	for len(r.pieces) > 1 && r.end-r.base-int64(len(r.pieces[0])) >= r.limit {
		used = r.pieces[0]
		r.base += int64(len(used))
		copy(r.pieces, r.pieces[1:])
		r.pieces = r.pieces[:len(r.pieces)-1]
	}
	if cap(used) == piece {
		r.pieces = append(r.pieces, used[:0])
		return
	}
	size := piece
	if count := len(r.pieces); count < 4 && r.base == 0 {
		size = piece >> (4 - count)
	}
	r.pieces = append(r.pieces, make([]byte, 0, size))
}

// Read copies bytes from offset on into out and tells how many; offset must lie between Oldest and End.
func (r *Ring) Read(offset int64, out []byte) int {
	at := r.base
	copied := 0
	for _, part := range r.pieces {
		next := at + int64(len(part))
		if offset < next {
			count := copy(out[copied:], part[offset-at:])
			copied += count
			offset += int64(count)
			if copied == len(out) {
				break
			}
		}
		at = next
	}
	return copied
}
