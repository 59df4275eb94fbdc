// Real aos modules answer a recorded sequence under Weft as they do under the reference loader,
// byte for byte, but for the listed differences. The memory they end with is committed: a change of
// a dependency that changes a result is a change of the rules, and `WEFT_BLESS=1 npm test` records it.

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { modules } from './lib/modules.mjs'
import { reference, temporaryFolder, weft } from './lib/run.mjs'
import { env } from './sequence/actors.mjs'
import { sequence } from './sequence/cases.mjs'
import { differences } from './sequence/differences.mjs'
import { landmarks } from './sequence/expected.mjs'

const messagesMin = 100
const cases = sequence()
const file = (name) => fileURLToPath(new URL(`sequence/${name}`, import.meta.url))
const envFile = file('env.json')
const messagesFile = file('messages.jsonl')

test('the recorded files are what the cases make', () => {
  const recorded = readFileSync(messagesFile, 'utf8')
  assert.ok(recorded === cases.map(({ json }) => json + '\n').join(''), 'run `npm run record` and commit')
  assert.equal(readFileSync(envFile, 'utf8'), JSON.stringify(env))
})

test('the sequence is long, its names are unique, and the lists name cases', () => {
  const names = new Set(cases.map(({ name }) => name))
  assert.ok(cases.length >= messagesMin, `${cases.length} messages`)
  assert.equal(names.size, cases.length)
  for (const name of [...differences.keys(), ...landmarks.keys()]) assert.ok(names.has(name), name)
})

test('the keys of every message stand in the order of the protocol', () => {
  const order = ['Id', 'Signature', 'Data', 'Owner', 'Target', 'Anchor', 'From', 'Forwarded-By', 'Tags']
  order.push('Epoch', 'Nonce', 'Timestamp', 'Block-Height', 'Hash-Chain', 'Cron', 'Read-Only')
  for (const { name, json } of cases) {
    const keys = Object.keys(JSON.parse(json))
    assert.deepEqual(keys, order.filter((key) => keys.includes(key)), name)
  }
})

/** The answers by name; as many lines as messages. */
function answers(text, who) {
  const lines = text.split('\n')
  assert.equal(lines.pop(), '', `${who} does not end with a line`)
  assert.equal(lines.length, cases.length, `${who} answered ${lines.length} of ${cases.length} messages`)
  return new Map(cases.map(({ name }, at) => [name, lines[at]]))
}

async function runReference(module, folder) {
  const out = join(folder, module.name)
  const { code, stderr } = await reference([module.file, module.format, envFile, messagesFile, out])
  assert.equal(code, 0, stderr.toString())
  return answers(readFileSync(out, 'utf8'), 'the reference')
}

async function runWeft(module) {
  const args = ['eval', '--module', module.file, '--format', module.format, '--env', envFile]
  const { code, stdout, stderr } = await weft([...args, '--stats', '--json', messagesFile])
  assert.equal(code, 0, stderr.toString())
  const stats = stderr.toString().trim().split('\n').map((line) => JSON.parse(line))
  const gas = stats.reduce((sum, { gas }) => sum + (gas ?? 0), 0)
  return { answers: answers(stdout.toString(), 'weft'), end: { ...stats.at(-1), gas } }
}

const goldenFile = file('golden.json')
const golden = JSON.parse(readFileSync(goldenFile, 'utf8'))

/** Compares with the committed end of a run, or commits a new one. */
function checkEnd(name, end) {
  if (process.env.WEFT_BLESS === '1') {
    golden[name] = end
    return writeFileSync(goldenFile, JSON.stringify(golden, null, 2) + '\n')
  }
  assert.deepEqual(end, golden[name], 'the memory differs from the committed one')
}

/** Where two long lines part, with what stands around it. */
function parting(reference, weft) {
  let at = 0
  while (at < reference.length && reference[at] === weft[at]) at += 1
  const around = (line) => line.slice(Math.max(0, at - 60), at + 120)
  return `they part at character ${at}:\nreference ...${around(reference)}\nweft      ...${around(weft)}`
}

const folder = temporaryFolder()
for (const module of modules) {
  test(`${module.name} (${module.format})`, async (t) => {
    const [ours, theirs] = await Promise.allSettled([runWeft(module), runReference(module, folder)])
    if (theirs.status === 'rejected') throw theirs.reason
    for (const [name, landmark] of landmarks) {
      const answer = theirs.value.get(name)
      assert.ok(answer.includes(landmark), `the reference at "${name}": ${answer.slice(0, 500)}`)
    }
    if (ours.status === 'rejected') throw ours.reason
    const weftAt = (name) => ours.value.answers.get(name)
    await t.test('the memory at the end', () => checkEnd(module.name, ours.value.end))
    for (const { name } of cases) {
      await t.test(name, () => {
        const [reference, weft] = [theirs.value.get(name), weftAt(name)]
        const difference = differences.get(name)
        const differs = difference && (difference.formats ?? [module.format]).includes(module.format)
        if (differs) return difference.check(reference, weft, { weftAt })
        assert.ok(reference === weft, reference === weft ? '' : parting(reference, weft))
      })
    }
  })
}
