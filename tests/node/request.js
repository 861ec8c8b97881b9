// One request by the cloud's SDK for Node.js: tells its status, as JSON, on standard output.
//
//   node request.js ENDPOINT AK SK REQUEST
//
// REQUEST is JSON: method, url with {names}, pathParams, queryParams, data, and region, to be looked
// up as the SDK does it where no project is given.
"use strict";

const [endpoint, ak, sk, text] = process.argv.slice(2);
const core = require("@huaweicloud/huaweicloud-sdk-core");
const { ClientBuilder } = require("@huaweicloud/huaweicloud-sdk-core/ClientBuilder");

async function main() {
  const request = JSON.parse(text);
  const credentials = new core.BasicCredentials()
    .withAk(ak).withSk(sk).withIamEndpoint(endpoint).withProjectId(request.projectId);
  const builder = new ClientBuilder(client => client).withCredential(credentials);
  const client = request.region
    ? builder.withRegion(new core.Region(request.region, endpoint)).build()
    : builder.withEndpoint(endpoint).build();
  const answer = await client.sendRequest({
    method: request.method,
    url: request.url,
    contentType: "application/json",
    pathParams: request.pathParams || {},
    queryParams: request.queryParams || {},
    headers: {},
    ...(request.data ? { data: request.data } : {}),
  });
  return { ...answer, httpStatusCode: answer.httpStatusCode };
}

main()
  .catch(error => ({ httpStatusCode: error.httpStatusCode, error: error.errorMsg || String(error) }))
  .then(answer => console.log(JSON.stringify(answer)));
