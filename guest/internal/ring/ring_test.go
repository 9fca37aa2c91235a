package ring

import (
	"bytes"
	"math/rand"
	"testing"
)

func TestHoldsTheLastBytes(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for _, limit := range []int64{1, 100, 4096, 70_000, 300_000} {
		r := New(limit)
		var all []byte
		for range 200 {
			chunk := make([]byte, random.Intn(9000))
			random.Read(chunk)
			r.Write(chunk)
			all = append(all, chunk...)
			if r.End() != int64(len(all)) {
				t.Fatalf("end %d, wrote %d", r.End(), len(all))
			}
			kept := r.End() - r.Oldest()
			if want := min(limit, int64(len(all))); kept < want {
				t.Fatalf("limit %d keeps %d of %d", limit, kept, len(all))
			}
			from := r.Oldest()
			if kept > 0 {
				from += random.Int63n(kept)
			}
			out := make([]byte, random.Intn(100_000))
			count := r.Read(from, out)
			if want := min(int64(len(out)), r.End()-from); int64(count) != want {
				t.Fatalf("read %d, want %d", count, want)
			}
			if !bytes.Equal(out[:count], all[from:from+int64(count)]) {
				t.Fatal("other bytes")
			}
		}
		held := 0
		for _, part := range r.pieces {
			held += cap(part)
		}
		if int64(held) > limit+3*piece {
			t.Fatalf("limit %d holds %d", limit, held)
		}
	}
}

func TestAnIdleRingHoldsNothing(t *testing.T) {
	r := New(1 << 20)
	if r.pieces != nil || r.Read(0, make([]byte, 10)) != 0 {
		t.Fatal("memory before the first byte")
	}
	r.Write([]byte("hello"))
	if cap(r.pieces[0]) > 2048 {
		t.Fatalf("%d bytes for five", cap(r.pieces[0]))
	}
}
