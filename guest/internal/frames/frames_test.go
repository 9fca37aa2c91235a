package frames

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"testing"
)

func TestThereAndBack(t *testing.T) {
	here, there := net.Pipe()
	big := bytes.Repeat([]byte("x"), Max)
	go func() {
		w := NewWriter(here)
		_ = w.Send(Output, []byte("12345678"), []byte("data"))
		_ = w.SendAll(Stderr, append(big, 'y'))
		_ = w.Control(map[string]int{"a": 1})
		_ = w.Send(End)
		_ = here.Close()
	}()
	r := NewReader(bufio.NewReader(there))
	want := []struct {
		kind    byte
		payload []byte
	}{{Output, []byte("12345678data")}, {Stderr, big}, {Stderr, []byte("y")}, {Control, []byte(`{"a":1}`)}, {End, nil}}
	for _, expected := range want {
		frame, err := r.Next()
		if err != nil || frame.Kind != expected.kind || !bytes.Equal(frame.Payload, expected.payload) {
			t.Fatalf("%q %d bytes, %v", frame.Kind, len(frame.Payload), err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Fatalf("end is %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("i\x00\x00\x00\x02hi"))
	f.Add([]byte("c\xff\xff\xff\xff"))
	f.Add([]byte("x\x00\x00\x00\x00o\x00\x01\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(bufio.NewReader(bytes.NewReader(data)))
		consumed := 0
		for {
			frame, err := r.Next()
			if err != nil {
				return
			}
			if len(frame.Payload) > Max || !known(frame.Kind) {
				t.Fatalf("%q with %d bytes", frame.Kind, len(frame.Payload))
			}
			head := data[consumed : consumed+5]
			consumed += 5 + len(frame.Payload)
			if head[0] != frame.Kind || !bytes.Equal(data[consumed-len(frame.Payload):consumed], frame.Payload) {
				t.Fatal("not what was on the wire")
			}
		}
	})
}
