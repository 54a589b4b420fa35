// The seed's WebSocket service, as plain as it stands there: a loop over all clients, a `send` for each.
// The seed subscribes to Redis; here each board is a line on standard input, which costs less.
// Prints the port that it listens on; ends with its input.
import { createInterface } from 'node:readline';
import { WebSocket, WebSocketServer } from 'ws';

const wss = new WebSocketServer({ host: '127.0.0.1', port: 0 });
const clients = new Set();

wss.on('listening', () => console.log(wss.address().port));

wss.on('connection', (ws) => {
  clients.add(ws);
  ws.on('error', () => ws.terminate());
  ws.on('close', () => clients.delete(ws));
});

function broadcast(leaderboard) {
  const message = JSON.stringify(leaderboard);
  clients.forEach((client) => {
    if (client.readyState === WebSocket.OPEN) {
      client.send(message);
    }
  });
}

const boards = createInterface({ input: process.stdin });
boards.on('line', (line) => broadcast(JSON.parse(line)));
boards.on('close', () => process.exit());
