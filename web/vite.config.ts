import { defineConfig } from "vite";

// The server serves the result at `/`; nothing of Node is needed at run time.
export default defineConfig({
  build: { outDir: "../src/rexec/server/static", emptyOutDir: true, sourcemap: false, assetsInlineLimit: 0 },
  server: {
    proxy: {
      "/api": "http://127.0.0.1:8080",
      "/ws": { target: "ws://127.0.0.1:8080", ws: true },
    },
  },
});
