// Drives the explorer in a headless Chromium by the DevTools protocol, over the pipe that
// --remote-debugging-pipe gives, so that nothing but node and Chromium is needed:
// node tools/explorer/drive.js PORT FOLDER. Code and numbers go to FOLDER for R to compare.
'use strict';
const { spawn } = require('child_process');
const fs = require('fs');
const path = require('path');
const [port, folder] = process.argv.slice(2);
const url = `http://127.0.0.1:${port}/`;

const chromium = spawn('chromium', [
  '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
  '--disable-background-networking', '--disable-extensions', '--remote-debugging-pipe',
  `--user-data-dir=${path.join(folder, 'profile')}`, 'about:blank',
], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
let passed = 0, failed = 0, last = 0, session;
const waiting = new Map(), requests = [], faults = [];

// Messages end with a zero byte.
let rest = Buffer.alloc(0);
chromium.stdio[4].on('data', (data) => {
  rest = Buffer.concat([rest, data]);
  for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
    const message = JSON.parse(rest.subarray(0, end).toString());
    rest = rest.subarray(end + 1);
    if (message.id) waiting.get(message.id)(message);
    if (message.method === 'Network.requestWillBeSent') requests.push(message.params.request.url);
    if (message.method === 'Runtime.exceptionThrown') {
      const said = message.params.exceptionDetails;
      faults.push((said.exception && said.exception.description) || said.text);
    }
  }
});
chromium.on('error', (e) => finish(e));
chromium.on('exit', () => finish(new Error('Chromium ended')));

function send(method, params = {}) {
  const id = ++last;
  return new Promise((resolve, reject) => {
    waiting.set(id, (m) => (m.error ? reject(new Error(m.error.message)) : resolve(m.result)));
    chromium.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId: session })}\0`);
  });
}
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
async function js(expression) {
  const got = await send('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
  if (got.exceptionDetails) throw new Error(`${expression}: ${got.exceptionDetails.text}`);
  return got.result.value;
}
// until the expression holds: how many milliseconds it took, or null
async function until(expression, limit = 20000) {
  for (const begun = Date.now(); Date.now() - begun < limit; await sleep(20)) {
    if (await js(`!!(${expression})`)) return Date.now() - begun;
  }
  return null;
}
function check(what, ok) {
  if (ok) passed++; else { failed++; console.log(`FAILED: ${what}`); }
}
const text = (id) => js(`document.getElementById('${id}').innerText`);
async function choose(id, value) {
  await js(`(() => { const e = document.getElementById('${id}'); e.value = '${value}';
            e.dispatchEvent(new Event('change', { bubbles: true })); })()`);
}
const idle = "!document.documentElement.classList.contains('shiny-busy')" +
  " && !document.querySelector('.recalculating')";
async function settled() {
  await sleep(400);
  await until(idle);
  await sleep(300);
  return until(idle);
}
async function press(key, code, shift = false) {
  for (const type of ['keyDown', 'keyUp']) {
    await send('Input.dispatchKeyEvent', {
      type, key, code: key, windowsVirtualKeyCode: code, modifiers: shift ? 8 : 0 });
  }
}
async function size(width, height) {
  await send('Emulation.setDeviceMetricsOverride', {
    width, height, deviceScaleFactor: 1, mobile: false });
  await settled();
}
async function picture(name) {
  const whole = await js('[document.documentElement.scrollWidth, document.body.scrollHeight]');
  const view = await js('[innerWidth, innerHeight]');
  check(`${name}: nothing is wider than the window (${whole[0]}, ${view[0]})`, whole[0] <= view[0]);
  const shot = await send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true,
    clip: { x: 0, y: 0, width: view[0], height: whole[1], scale: 1 } });
  fs.writeFileSync(path.join(folder, `${name}.png`), Buffer.from(shot.data, 'base64'));
}
async function keep(name) {
  fs.writeFileSync(path.join(folder, `${name}.R`), await js("document.getElementById('code').textContent"));
  fs.writeFileSync(path.join(folder, `${name}.txt`), await text('numbers'));
}
let finished = false;
function finish(error) {
  if (finished) return;
  finished = true;
  if (error) { failed++; console.log(`FAILED: ${error.message}`); }
  console.log(`${passed} passed, ${failed} failed`);
  chromium.kill();
  process.exit(failed ? 1 : 0);
}
setTimeout(() => finish(new Error('no end after 300 s')), 300000).unref();

async function main() {
  const target = await send('Target.createTarget', { url: 'about:blank' });
  session = (await send('Target.attachToTarget', { ...target, flatten: true })).sessionId;
  await send('Network.enable');
  await send('Runtime.enable');
  await send('Page.enable');
  await send('Page.navigate', { url });
  await size(1400, 900);
  check('the app starts', await until("document.querySelector('#numbers table')") !== null);
  await settled();
  await picture('wide-three');
  check('pictures are drawn', await js(
    "[...document.querySelectorAll('.shiny-plot-output img')].length === 3"));

  // The slider, by keyboard.
  const before = await text('numbers');
  await js("document.getElementById('strength').focus()");
  const codeBefore = await text('code');
  for (let i = 0; i < 3; i++) await press('ArrowRight', 39);
  const took = await until(
    `document.getElementById('code').innerText !== ${JSON.stringify(codeBefore)}`);
  check('a slider that is moved changes the code', took !== null);
  await settled();
  check('a slider that is moved changes the numbers', (await text('numbers')) !== before);
  console.log(`the slider: ${await text('took')}`);
  await keep('three');

  for (const preset of ['tilt', 'zero', 'iris']) {
    await choose('preset', preset);
    await settled();
    await keep(preset);
    check(`${preset}: numbers`, (await text('numbers')).length > 20);
    check(`${preset}: no message`, (await text('messages')).trim() === '');
    await picture(`wide-${preset}`);
    if (preset === 'tilt') {
      check('proved, in words and by colour', await js(
        "document.querySelector('.theorem.proved').innerText.includes('✔ Proved')"));
    }
  }
  check('not proved, in words and by colour', await js(
    "document.querySelector('.theorem.open').innerText.includes('✖ Not proved')"));
  await choose('sampler', 'em');
  await settled();
  await keep('em');
  await choose('key', '');
  await settled();
  check('what cannot be is said', (await text('messages')).includes('`key` must be'));
  await choose('key', '3');
  await settled();
  check('and then it goes on', (await text('messages')).trim() === '');

  await js("window.explorerCopy()");
  await sleep(300);
  check('copying says what it did', /Copied|Ctrl/.test(await text('copied')));

  // Every control has a label, and the keyboard comes to all of them, in the order of the page.
  check('labels', await js(`[...document.querySelectorAll('form select, form input')]
    .every((e) => e.labels && e.labels.length && e.labels[0].innerText !== undefined)`));
  await js("document.getElementById('preset').focus()");
  const order = ['preset'];
  for (let i = 0; i < 30 && order[order.length - 1] !== 'copy'; i++) {
    await press('Tab', 9);
    order.push(await js("document.activeElement.id || document.activeElement.className"));
  }
  check(`the keyboard comes from the preset to the button: ${order}`,
    order.includes('preset') && order.indexOf('class') > order.indexOf('preset') &&
    order.includes('code') && order.includes('copy'));

  await size(400, 800);
  await picture('narrow-iris');
  check('one column on a narrow window', await js(
    "getComputedStyle(document.querySelector('.explorer')).gridTemplateColumns.split(' ').length === 1"));
  const foreign = requests.filter((u) => !u.startsWith(url) && !/^(data|blob|about):/.test(u));
  check(`nothing comes from elsewhere: ${foreign}`, foreign.length === 0);
  check(`no error of the page: ${faults}`, faults.length === 0);
}
main().then(() => finish(), finish);
