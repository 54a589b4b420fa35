import { defineConfig } from "vitest/config";

// The page at `/`. Built before the client, whose one file joins it in dist.
export default defineConfig({
  resolve: { alias: { "scoreboard-client": decodeURI(new URL("../client/src/index.ts", import.meta.url).pathname) } },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    outDir: "../dist",
    emptyOutDir: true,
    modulePreload: false,
    assetsInlineLimit: 0, // the policy takes no font from a data: address
    license: { fileName: "page.licenses.txt" },
  },
  server: { proxy: { "/scoreboard.v1": "http://127.0.0.1:8080", "/api": "http://127.0.0.1:8080" } },
  test: { include: ["test/**/*.test.ts"] },
});
