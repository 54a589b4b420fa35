import { defineConfig } from "vitest/config";

// One file for pages without a bundler: `import { Client } from "/client.js"`. The npm package is what tsc makes.
export default defineConfig({
  build: {
    target: "es2022",
    outDir: "../dist",
    emptyOutDir: false, // the page is built into it first
    modulePreload: false,
    license: { fileName: "client.licenses.txt" },
    // Not `lib`, for which Vite leaves white space in.
    rolldownOptions: {
      input: "src/index.ts",
      preserveEntrySignatures: "strict",
      output: { entryFileNames: "client.js", format: "es" },
    },
  },
  test: { include: ["test/**/*.test.ts"] },
});
