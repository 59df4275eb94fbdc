// Starts Lua and its prelude once, here, and makes what is in memory then the data of the module:
// `snapshot.mjs LINKED OUT`. What only the start needed is no longer exported.
import { readFileSync, writeFileSync } from 'node:fs'

const [from, to] = process.argv.slice(2)
const module = readFileSync(from)
const compiled = new WebAssembly.Module(module)

// As the linker was told: of the stack nothing is left behind.
const STACK = 1 << 20
// Zeros between two data segments that are worth a segment of their own.
const GAP = 12
// Exports of the build.
const OURS = ['boot', 'compile', 'room']

const instance = () =>
  new WebAssembly.Instance(compiled, { weft: { read_item: () => { throw new Error('nothing to read') } } }).exports

function chunks() {
  const { compile, memory } = instance()
  const found = []
  for (;;) {
    const answer = BigInt.asUintN(64, compile(found.length))
    if (answer === 0n) return Buffer.concat(found.flatMap((chunk) => [uint32(chunk.length), chunk]))
    const [at, length] = halves(answer)
    found.push(Buffer.from(memory.buffer.slice(at, at + length)))
  }
}

const halves = (number) => [Number(number >> 32n), Number(number & 0xffffffffn)]

function uint32(number) {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(number)
  return bytes
}

// What is in memory after the start, and how much of each arena was used. The code lies behind the memory
// that Lua is given, and is gone afterwards.
function started(code, still, busy) {
  const { boot, memory, room } = instance()
  const bytes = room(code.length)
  const whole = memory.buffer.byteLength
  new Uint8Array(memory.buffer).set(code, bytes)
  const used = halves(BigInt.asUintN(64, boot(bytes, still, busy)))
  const image = new Uint8Array(memory.buffer.slice(0, bytes))
  image.fill(0, 0, STACK)
  return { image, used, fits: memory.buffer.byteLength === whole }
}

// Everything that is not zero, as address and bytes.
function* segments(image) {
  let start = 0
  while ((start = next(image, start)) < image.length) {
    let end = start + 1
    for (let at; (at = next(image, end)) < image.length && at - end < GAP; ) end = at + 1
    yield [start, image.subarray(start, end)]
    start = end
  }
}

function next(image, at) {
  while (at < image.length && image[at] === 0) at++
  return at
}

function unsigned(number) {
  const bytes = []
  do {
    bytes.push((number & 127) | (number > 127 ? 128 : 0))
    number >>>= 7
  } while (number)
  return Buffer.from(bytes)
}

function signed(number) {
  const bytes = []
  for (;;) {
    const low = number & 127
    number >>= 7
    if ((number === 0 && !(low & 64)) || (number === -1 && low & 64)) return Buffer.from([...bytes, low])
    bytes.push(low | 128)
  }
}

function read(bytes, at) {
  let number = 0
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++]
    number += (byte & 127) * 2 ** shift
    if (byte < 128) return [number, at]
  }
}

const list = (parts) => Buffer.concat([unsigned(parts.length), ...parts])

function exported(section) {
  let [count, at] = read(section, 0)
  const kept = []
  for (; count > 0; count--) {
    const [length, name] = read(section, at)
    const end = read(section, name + length + 1)[1]
    if (!OURS.includes(section.toString('utf8', name, name + length))) kept.push(section.subarray(at, end))
    at = end
  }
  return list(kept)
}

function rewritten(image) {
  const data = [...segments(image)].map(([address, bytes]) =>
    Buffer.concat([Buffer.from([0, 0x41]), signed(address), Buffer.from([0x0b]), unsigned(bytes.length), bytes]))
  const change = { 7: exported, 11: () => list(data), 12: () => unsigned(data.length) }
  const sections = [module.subarray(0, 8)]
  for (let at = 8; at < module.length; ) {
    const id = module[at]
    const [length, start] = read(module, at + 1)
    at = start + length
    const section = change[id]?.(module.subarray(start, at)) ?? module.subarray(start, at)
    sections.push(Buffer.from([id]), unsigned(section.length), section)
  }
  return Buffer.concat(sections)
}

const code = chunks()
// Once to see how much is used, once with arenas of just that size.
const { used: [still, busy] } = started(code, 1 << 18, 1 << 16)
const { image, fits } = started(code, still, busy)
if (!fits) throw new Error('started Lua needs more memory than the module begins with')
writeFileSync(to, rewritten(image))
