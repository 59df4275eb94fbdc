// Writes messages.jsonl, names.txt and env.json from cases.mjs: `npm run record`. The suite
// compares the committed files with what this makes.

import { writeFileSync } from 'node:fs'
import { env } from './actors.mjs'
import { sequence } from './cases.mjs'

const here = new URL('.', import.meta.url)
const cases = sequence()
writeFileSync(new URL('messages.jsonl', here), cases.map(({ json }) => json + '\n').join(''))
writeFileSync(new URL('env.json', here), JSON.stringify(env))
console.log(`${cases.length} messages`)
