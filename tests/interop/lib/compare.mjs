// One sequence of messages under both hosts, and where they part.

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { reference, temporaryFolder, weft } from './run.mjs'

const folder = temporaryFolder()
// One for each file of tests: they run beside each other, and each writes its own.
const goldenFile = (suite) => fileURLToPath(new URL(`../sequence/golden/${suite}.json`, import.meta.url))

/** The answers by name; as many lines as cases. */
function answers(cases, text, who) {
  const lines = text.split('\n')
  assert.equal(lines.pop(), '', `${who} does not end with a line`)
  assert.equal(lines.length, cases.length, `${who} answered ${lines.length} of ${cases.length} messages`)
  return new Map(cases.map(({ name }, at) => [name, lines[at]]))
}

const offers = (run) => (run.data ?? []).flatMap((item) => ['--data', item])

/** The answers of the reference loader to a run, and the GasUsed of each message if it `counts`. */
export async function runReference(run) {
  const out = join(folder, `${run.name}.reference`)
  const { file, format, envFile, messagesFile } = run
  const flags = [...(run.counts ? ['--gas'] : []), ...(run.fresh ? ['--fresh'] : [])]
  const { code, stderr } = await reference([file, format, envFile, messagesFile, out, ...flags, ...offers(run)])
  assert.equal(code, 0, stderr.toString())
  const gas = run.counts ? readFileSync(`${out}.gas`, 'utf8') : 'null\n'.repeat(run.cases.length)
  return { answers: answers(run.cases, readFileSync(out, 'utf8'), 'the reference'), gas: answers(run.cases, gas, 'its gas') }
}

/** The answers of `weft eval` to a run, the statistics of each message, and what is left at the end. */
export async function runWeft(run) {
  const args = ['eval', '--module', run.file, '--format', run.format, '--env', run.envFile, ...offers(run)]
  const limits = run.memoryLimit ? ['--memory-limit', run.memoryLimit] : []
  const { code, stdout, stderr } = await weft([...args, ...limits, '--stats', '--json', run.messagesFile])
  assert.equal(code, 0, stderr.toString())
  const stats = stderr.toString().trim().split('\n').map((line) => JSON.parse(line))
  const gas = stats.reduce((sum, { gas }) => sum + (gas ?? 0), 0)
  const messages = stats.filter(({ line }) => line !== undefined)
  const end = { ...stats.at(-1), gas }
  return { answers: answers(run.cases, stdout.toString(), 'weft'), messages, end }
}

/** Writes the messages and the environment of a run to files. */
export function written(run, env) {
  const path = (name) => join(folder, `${run.name}.${name}`)
  writeFileSync(path('env.json'), JSON.stringify(env))
  writeFileSync(path('jsonl'), run.cases.map(({ json }) => json + '\n').join(''))
  return { ...run, envFile: path('env.json'), messagesFile: path('jsonl') }
}

/** A file of this run of the suite. */
export function file(name, bytes) {
  writeFileSync(join(folder, name), bytes)
  return join(folder, name)
}

/** Compares with the committed end of a run, or commits a new one. */
function checkEnd(suite, name, end) {
  const golden = JSON.parse(readFileSync(goldenFile(suite), 'utf8'))
  if (process.env.WEFT_BLESS === '1') {
    golden[name] = end
    return writeFileSync(goldenFile(suite), JSON.stringify(golden, null, 2) + '\n')
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

/**
 * Runs both hosts and makes a test of each case; `landmarks` say that the reference did the thing,
 * and the golden file of `suite` how it ends.
 */
export async function compare(t, run, { suite, differences, landmarks }) {
  const [ours, theirs] = await Promise.allSettled([runWeft(run), runReference(run)])
  if (theirs.status === 'rejected') throw theirs.reason
  for (const [name, landmark] of landmarks) {
    const answer = theirs.value.answers.get(name)
    assert.ok(answer.includes(landmark), `the reference at "${name}": ${answer.slice(0, 500)}`)
  }
  if (ours.status === 'rejected') throw ours.reason
  const weftAt = (name) => ours.value.answers.get(name)
  await t.test('the memory at the end', () => checkEnd(suite, run.name, ours.value.end))
  for (const [at, { name }] of run.cases.entries()) {
    await t.test(name, () => {
      const [reference, weft] = [theirs.value.answers.get(name), weftAt(name)]
      // A message that failed has none.
      const gas = theirs.value.gas.get(name)
      if (gas !== 'null') assert.equal(String(ours.value.messages[at].gas_used), gas, 'GasUsed')
      const difference = differences.get(name)
      const differs = difference && (difference.formats ?? [run.format]).includes(run.format)
      if (differs) return difference.check(reference, weft, { weftAt })
      assert.ok(reference === weft, reference === weft ? '' : parting(reference, weft))
    })
  }
}
