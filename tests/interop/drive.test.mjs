// Lua reads an item of the weave in aos, as under the reference loader: as many
// bytes as it asks for, but not "all". The modules' own `fread` gives a full buffer whatever the drive
// gave, so Lua asks for more until there is no memory left, under either host.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compare, file, written } from './lib/compare.mjs'
import { modules } from './lib/modules.mjs'
import { env } from './sequence/actors.mjs'
import { reads, text, textId } from './sequence/drive.mjs'

const suite = 'drive'
const trap = (line) => JSON.parse(line).trap

const differences = new Map([
  [
    'all of it',
    {
      why: "Both run out of memory; the text of a trap is each host's own and reaches no result.",
      check(reference, weft) {
        assert.equal(trap(reference), 'memory access out of bounds')
        assert.equal(trap(weft), 'out of memory')
      },
    },
  ],
])
const landmarks = new Map([
  ['its size', `"data":"${Buffer.byteLength(text)}"`],
  ['some bytes', '"data":"The first "'],
])

test('aos reads an item through the drive', (t) => {
  const [module] = modules
  const data = [`${textId}=${file('drive.text', text)}`]
  const run = written({ ...module, name: `drive.${module.name}`, cases: reads, data }, env)
  return compare(t, run, { suite, differences, landmarks })
})
