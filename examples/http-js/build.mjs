// Builds server.wasm: the engine, with the program read and its top level run.
import { writeFile } from "node:fs/promises";

import { componentize } from "@bytecodealliance/componentize-js";

const { component } = await componentize({ sourcePath: "server.js", witPath: "http.wit", worldName: "server" });
await writeFile("server.wasm", component);
