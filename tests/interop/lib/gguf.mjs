// A language model for tests: the shape that llama.cpp loads, with weights from a fixed seed. What it
// says is noise; it is the same noise on every host that computes as the format demands.

const layers = 2
const width = 64
const heads = 4
const hidden = 128
const vocabulary = 512
const alignment = 32
const version = 3

const types = { u32: 4, f32: 6, string: 8, array: 9, i32: 5 }

/** Writes little-endian numbers and texts one after the other. */
class Writer {
  #parts = []
  length = 0

  bytes(bytes) {
    this.#parts.push(bytes)
    this.length += bytes.length
  }

  #number(size, write) {
    const bytes = Buffer.alloc(size)
    write(bytes)
    this.bytes(bytes)
  }

  u32 = (value) => this.#number(4, (bytes) => bytes.writeUInt32LE(value))
  i32 = (value) => this.#number(4, (bytes) => bytes.writeInt32LE(value))
  f32 = (value) => this.#number(4, (bytes) => bytes.writeFloatLE(value))
  u64 = (value) => this.#number(8, (bytes) => bytes.writeBigUInt64LE(BigInt(value)))

  string = (text) => {
    const bytes = Buffer.from(text)
    this.u64(bytes.length)
    this.bytes(bytes)
  }

  align() {
    this.bytes(Buffer.alloc((alignment - (this.length % alignment)) % alignment))
  }

  done = () => Buffer.concat(this.#parts)
}

/** Numbers from a seed (mulberry32), each in [0, 1). */
function random(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Three special tokens, every byte, and pieces of two letters: `[text, score, type]`. */
function tokens() {
  const all = [
    ['<unk>', 0, 2],
    ['<s>', 0, 3],
    ['</s>', 0, 3],
  ]
  for (let byte = 0; byte < 256; byte += 1) {
    all.push([`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, 0, 6])
  }
  const letters = '\u2581etaoinshrdlcumwfg'
  for (const first of letters) {
    for (const second of letters) {
      if (all.length < vocabulary) all.push([first + second, -all.length, 1])
    }
  }
  return all
}

function writeMetadata(out) {
  const all = tokens()
  const list = (type, index) => [types.array, { type, values: all.map((token) => token[index]) }]
  const entries = [
    ['general.architecture', types.string, 'llama'],
    ['general.name', types.string, 'noise'],
    ['llama.context_length', types.u32, 256],
    ['llama.embedding_length', types.u32, width],
    ['llama.block_count', types.u32, layers],
    ['llama.feed_forward_length', types.u32, hidden],
    ['llama.attention.head_count', types.u32, heads],
    ['llama.attention.head_count_kv', types.u32, heads],
    ['llama.rope.dimension_count', types.u32, width / heads],
    ['llama.attention.layer_norm_rms_epsilon', types.f32, 1e-5],
    ['tokenizer.ggml.model', types.string, 'llama'],
    ['tokenizer.ggml.tokens', ...list(types.string, 0)],
    ['tokenizer.ggml.scores', ...list(types.f32, 1)],
    ['tokenizer.ggml.token_type', ...list(types.i32, 2)],
    ['tokenizer.ggml.unknown_token_id', types.u32, 0],
    ['tokenizer.ggml.bos_token_id', types.u32, 1],
    ['tokenizer.ggml.eos_token_id', types.u32, 2],
  ]
  const writers = { [types.string]: out.string, [types.u32]: out.u32, [types.i32]: out.i32, [types.f32]: out.f32 }
  out.u64(entries.length)
  return () => {
    for (const [name, type, value] of entries) {
      out.string(name)
      out.u32(type)
      if (type !== types.array) {
        writers[type](value)
        continue
      }
      out.u32(value.type)
      out.u64(value.values.length)
      value.values.forEach(writers[value.type])
    }
  }
}

/** Every tensor as `[name, dimensions]`; the first dimension is that of a row. */
function tensors() {
  const square = [width, width]
  const layer = (at) => [
    [`blk.${at}.attn_norm.weight`, [width]],
    [`blk.${at}.attn_q.weight`, square],
    [`blk.${at}.attn_k.weight`, square],
    [`blk.${at}.attn_v.weight`, square],
    [`blk.${at}.attn_output.weight`, square],
    [`blk.${at}.ffn_norm.weight`, [width]],
    [`blk.${at}.ffn_gate.weight`, [width, hidden]],
    [`blk.${at}.ffn_up.weight`, [width, hidden]],
    [`blk.${at}.ffn_down.weight`, [hidden, width]],
  ]
  return [
    ['token_embd.weight', [width, vocabulary]],
    ...Array.from({ length: layers }, (_, at) => layer(at)).flat(),
    ['output_norm.weight', [width]],
    ['output.weight', [width, vocabulary]],
  ]
}

/** The file: about 600 KB, the same bytes for the same seed. */
export function model(seed) {
  const all = tensors()
  const size = (dimensions) => dimensions.reduce((product, dimension) => product * dimension, 4)
  const out = new Writer()
  out.bytes(Buffer.from('GGUF'))
  out.u32(version)
  out.u64(all.length)
  writeMetadata(out)()
  let offset = 0
  for (const [name, dimensions] of all) {
    out.string(name)
    out.u32(dimensions.length)
    dimensions.forEach(out.u64)
    out.u32(0)
    out.u64(offset)
    offset += Math.ceil(size(dimensions) / alignment) * alignment
  }
  out.align()
  const next = random(seed)
  for (const [, dimensions] of all) {
    const numbers = new Float32Array(size(dimensions) / 4)
    const isNorm = dimensions.length === 1
    for (let at = 0; at < numbers.length; at += 1) numbers[at] = isNorm ? 1 : (next() - 0.5) * 0.6
    out.bytes(Buffer.from(numbers.buffer))
    out.align()
  }
  return out.done()
}
