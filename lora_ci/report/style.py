"""The style sheet of the page: light and dark, from a phone's width up."""

STYLE = """
:root{color-scheme:light dark;--ink:#1b2330;--dim:#5d6878;--paper:#f4f5f8;--card:#fff;
--rule:#e0e4ea;--track:#e8ebf0;--accent:#3568d4;--good:#187048;--weak:#8f5500;--bad:#c2303b;
--base:#7c8797;--reference:#7d4fc4;--tint:#f0f4fd}
@media(prefers-color-scheme:dark){:root{--ink:#e5e9f0;--dim:#98a3b3;--paper:#0f1318;
--card:#181d24;--rule:#2b323c;--track:#2a313b;--accent:#7ba6ff;--good:#4cc38a;--weak:#e5a84c;
--bad:#ff7b85;--base:#8b96a6;--reference:#b995f5;--tint:#1c2635}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;max-width:68rem;padding:1.5rem 1.25rem 4rem;background:var(--paper);
color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:.2rem 0 .4rem}
h2{font-size:1.25rem;margin:0;display:flex;flex-wrap:wrap;gap:.6rem;align-items:center}
h3{font-size:1rem;margin:1.8rem 0 .5rem}
p{margin:.4rem 0}
a{color:var(--accent);text-decoration:none}
a:hover{text-decoration:underline}
code{font:.86em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.dim,figcaption,.ends,.why,.scale,.keys,dt{color:var(--dim);font-size:.86rem}
.brand{color:var(--dim);font-weight:600;letter-spacing:.02em;margin:0}
.sign{display:inline-grid;place-items:center;width:1.9rem;height:1.9rem;border-radius:50%;
color:var(--card);background:var(--good);font-size:1.05rem;vertical-align:.12em}
.sign.failed,.sign.error{background:var(--bad)}
.sign.inconclusive,.sign.interrupted{background:var(--weak)}
.sign.running{background:var(--dim)}
.lead{font-size:1.08rem;margin:.2rem 0}
section{background:var(--card);border:1px solid var(--rule);border-radius:.8rem;
padding:1.25rem;margin-top:1.25rem}
.chip{display:inline-block;border-radius:99px;padding:.05rem .6rem;font-size:.82rem;
font-weight:600;border:1px solid currentColor;white-space:nowrap}
.chip.passed{color:var(--good)}
.chip.failed,.chip.error{color:var(--bad)}
.chip.inconclusive,.chip.interrupted{color:var(--weak)}
.chip.idle{color:var(--dim);font-weight:400}
.glance{display:grid;gap:.2rem 1rem;grid-template-columns:minmax(6rem,max-content) 3.2rem
minmax(8rem,16rem) 1fr;align-items:center}
.glance>*{min-width:0}
.glance .chips{display:flex;flex-wrap:wrap;gap:.3rem;justify-content:flex-end}
.glance svg{height:26px;width:100%;display:block}
.glance .value{text-align:right}
table{border-collapse:collapse;width:100%;font-size:.94rem}
th{font-size:.86rem;font-weight:400;color:var(--dim)}
th,td{text-align:left;vertical-align:top;padding:.4rem 1rem .4rem 0;
border-bottom:1px solid var(--rule)}
td:first-child{min-width:10.5rem}
tr:last-child td{border-bottom:0}
details{margin-top:.8rem}
summary{cursor:pointer;color:var(--dim)}
ul{padding-left:0;list-style:none;margin:.5rem 0}
li details{margin:.2rem 0;font-size:.9rem}
li{margin:.7rem 0;padding-left:.8rem;border-left:3px solid var(--rule)}
li p{margin:.15rem 0}
li.error{border-color:var(--bad)}
li.warning{border-color:var(--weak)}
li.error b{color:var(--bad)}
li.warning b{color:var(--weak)}
pre{overflow-x:auto;font-size:.8rem;background:var(--paper);padding:.8rem;border-radius:.4rem}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.25rem 1.2rem;margin:.5rem 0}
dt{line-height:1.7}
dd{margin:0;min-width:0}
dl.facts{display:flex;flex-wrap:wrap;gap:.2rem 1.8rem;margin-top:1.2rem}
.facts div{display:flex;gap:.6rem;min-width:0}
.facts dt{white-space:nowrap}
.facts dd{font-size:.94rem}
.one{white-space:nowrap}
.columns{display:flex;flex-wrap:wrap;gap:0 3rem}
.columns>*{flex:1 1 22rem;min-width:0}
.chart{display:grid;margin-top:.4rem}
.row{display:grid;grid-template-columns:7.5rem minmax(0,1fr) 3.6rem 7.6rem;column-gap:.9rem;
align-items:center}
.row svg{width:100%;height:26px;overflow:visible;display:block}
.row .value{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums;font-weight:600}
.row .ends{font-variant-numeric:tabular-nums;white-space:nowrap}
.row .why{grid-column:2/-1;margin:-.1rem 0 .5rem}
.scale{display:flex;justify-content:space-between;font-size:.78rem}
.chart .scale{margin:0 13rem 0 8.4rem}
.columns .row{grid-template-columns:6.4rem minmax(0,1fr) 3.4rem 6.4rem;column-gap:.7rem}
.columns .row .why{display:none}
.columns .scale{margin:0 11.2rem 0 7.1rem}
.words .row{grid-template-columns:7.5rem minmax(0,1fr) 3rem}
.words .row .ends{display:none}
.keys{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem}
.key i{display:inline-block;width:1.1rem;height:0;border-top:3px solid;vertical-align:middle;
margin-right:.4rem}
rect.track{fill:var(--track)}
rect.good,circle.good{fill:var(--good)}
rect.weak{fill:var(--weak)}
rect.plain{fill:var(--accent)}
.row.total{border-top:1px solid var(--rule);padding-top:.15rem}
.row.total .name{font-weight:600}
.row.weak .value{color:var(--weak)}
line.mark{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:3 3;opacity:.7}
i.mark{border-top-style:dashed!important;border-top-width:2px!important;color:var(--ink)}
.whisker line{stroke:var(--ink);stroke-width:1.5}
i.whisker{border-top-width:2px!important;color:var(--ink)}
line.rail,svg.field{stroke:none}
line.rail{stroke:var(--track);stroke-width:2}
circle.base{fill:var(--base)}
circle.adapter{fill:var(--accent)}
circle.reference{fill:var(--reference)}
.plot{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.2rem .6rem;max-width:44rem}
.plot .up{display:flex;flex-direction:column;justify-content:space-between;text-align:right;
font-size:.78rem;color:var(--dim);line-height:1}
.plot .field{width:100%;height:170px;overflow:visible;border-left:1px solid var(--rule);
border-bottom:1px solid var(--rule)}
.plot .scale{grid-column:2}
polyline{fill:none;stroke-width:2;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.field svg{overflow:visible}
polyline.score,polyline.loss{stroke:var(--accent)}
polyline.identity{stroke:var(--reference);stroke-width:1.5}
polyline.clean{stroke:var(--good);stroke-width:1.5}
polyline.base{stroke:var(--base);stroke-width:1.5}
i.base{color:var(--base)}
circle.score{fill:var(--accent)}
circle.identity{fill:var(--reference)}
circle.clean{fill:var(--good)}
i.score,i.loss{color:var(--accent)}
i.identity{color:var(--reference)}
i.clean{color:var(--good)}
polyline.held-out{stroke:var(--reference)}
circle.held-out{fill:var(--reference);r:2.5px}
i.held-out{color:var(--reference)}
circle.lowest{fill:var(--card);stroke:var(--reference);stroke-width:2.5}
i.lowest{width:.7rem!important;height:.7rem!important;border:2.5px solid var(--reference)!important;
border-radius:50%}
polyline.rate{stroke:var(--base);stroke-width:1.5}
i.rate{color:var(--base)}
.curves .up{min-width:3.4rem}
.curves .field{height:220px}
.curves .low .field{height:44px}
.curves polyline.loss{stroke-width:1.5;opacity:.75}
.samples .said{margin-top:.8rem}
.steps{display:grid;grid-template-columns:repeat(8,minmax(0,1fr));gap:.4rem;max-width:56rem}
.prompt{margin:.9rem 0 1.2rem}
.said{font-weight:600;margin:0 0 .4rem}
.groups{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,24rem),1fr));
gap:.8rem 1.6rem}
.groups.of2{grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr))}
.groups.of1{grid-template-columns:repeat(auto-fill,minmax(min(100%,8rem),1fr))}
.group{min-width:0}
.set{display:grid;grid-auto-flow:column;grid-auto-columns:minmax(0,10rem);gap:.4rem}
.prompt details{margin-top:.4rem;font-size:.86rem}
.seed{display:block;color:var(--dim);font-size:.78rem}
.strip{display:grid;grid-template-columns:repeat(auto-fill,minmax(6.4rem,1fr));gap:.6rem .4rem}
figure{margin:0;min-width:0}
figure.adapter img{outline:2px solid var(--accent);outline-offset:1px}
figcaption{font-size:.78rem;line-height:1.3;margin-top:.25rem}
img{display:block;width:100%;height:auto;max-width:10rem;border-radius:.3rem;background:var(--track)}
img.small{image-rendering:pixelated}
.zoom{display:block;width:100%;max-width:10rem;padding:0;border:0;background:none;
border-radius:.3rem;font:inherit}
.zooms .zoom{cursor:zoom-in}
a:focus-visible,summary:focus-visible,button:focus-visible,select:focus-visible,
input:focus-visible{outline:3px solid var(--accent);outline-offset:3px}
dialog{border:1px solid var(--rule);border-radius:.8rem;background:var(--card);color:var(--ink);
width:min(94vw,46rem);max-height:96vh;padding:1rem}
dialog::backdrop{background:rgb(0 0 0/.6)}
dialog img{max-width:none;max-height:76vh;object-fit:contain}
.close{float:right;margin:0 0 .6rem;padding:.3rem .9rem;font:inherit;color:var(--ink);
background:var(--track);border:1px solid var(--rule);border-radius:.4rem;cursor:pointer}
.large{clear:both}
.slider{max-width:30rem;margin:.8rem 0 1.6rem}
.picks{display:flex;flex-wrap:wrap;gap:.4rem 1rem;font-size:.9rem}
.picks label{white-space:nowrap;display:flex;gap:.4rem;align-items:baseline;min-width:0;
max-width:100%}
select{font:inherit;min-width:0;max-width:100%;color:var(--ink);background:var(--card);
border:1px solid var(--dim);border-radius:.3rem;padding:.1rem .3rem}
.pane{position:relative;margin:.6rem 0;--at:50%}
.pane img{max-width:none}
.pane .over{position:absolute;inset:0;height:100%;clip-path:inset(0 0 0 var(--at))}
.pane::after{content:"";position:absolute;top:0;bottom:0;left:var(--at);width:2px;
margin-left:-1px;background:#fff;box-shadow:0 0 0 1px rgb(0 0 0/.6)}
.slide{display:grid}
.slide input{width:100%;margin:.2rem 0;accent-color:var(--accent)}
.weights .field.low{display:block;width:100%;height:70px;border:0;overflow:visible;
margin-bottom:.5rem}
.steps.of-weights{grid-template-columns:repeat(var(--n),minmax(0,1fr));max-width:none}
.of-weights>*{min-width:0}
.of-weights .zoom,.of-weights img,.of-weights .missing{max-width:none}
.of-weights .inside{border-top:3px solid var(--good);padding-top:.3rem}
.of-weights .outside{border-top:3px solid var(--rule);padding-top:.3rem}
.of-weights p{font-size:.78rem;line-height:1.35;margin:.15rem 0}
.of-weights .chip{font-size:.72rem;padding:0 .4rem}
.twins{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,14rem),1fr));
gap:.9rem 1.4rem;margin-top:.6rem}
.missing{display:grid;place-items:center;text-align:center;aspect-ratio:1;max-width:10rem;
border:1px dashed var(--rule);border-radius:.3rem;color:var(--dim);font-size:.78rem}
@media(max-width:44rem){
.steps{grid-template-columns:repeat(4,minmax(0,1fr))}
.weights{overflow-x:auto}
.weights>*{min-width:34rem}
body{padding:1rem .75rem 3rem}
section{padding:1rem .9rem;border-radius:.6rem}
.row,.columns .row{grid-template-columns:minmax(0,1fr) auto auto;column-gap:.6rem;
padding-bottom:.3rem}
.row svg{grid-column:1/-1;grid-row:2}
.row .why{grid-column:1/-1}
.chart .scale,.columns .scale{margin:0}
.words .row{grid-template-columns:minmax(0,1fr) auto}
.glance{grid-template-columns:minmax(0,1fr) auto}
.glance .chips{grid-column:1/-1;justify-content:flex-start;margin-bottom:.7rem}
.glance .meter{grid-column:1/-1}
.row .value:has(+.ends:empty){grid-column:2/-1}
thead{display:none}
tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--rule)}
tr:last-child{border-bottom:0}
td{display:block;border:0;padding:.05rem 0}
td::before{content:attr(data-of) " ";color:var(--dim);font-size:.82rem}
td:first-child::before{content:none}
td:empty{display:none}
dl{grid-template-columns:minmax(0,1fr);gap:0}
dd{margin-bottom:.4rem}
dl.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.1rem .8rem}
.facts div{display:contents}
.facts dd{margin:0}
}
"""
