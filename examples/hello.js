// SPDX-License-Identifier: Apache-2.0
// Greets whoever calls: the smallest Node.js function.

exports.handler = async (event) => {
  const name = (event.body && event.body.name) || 'world';
  console.log(`greeting ${name}`);
  return { statusCode: 200, body: { message: `Hello, ${name}!` } };
};
