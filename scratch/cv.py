import sys, json
sys.path.insert(0,'/tmp/bench-tree'); sys.path.insert(0,'/tmp/bench-tree/src')
import numpy as np, torch
torch.set_num_threads(1)
import germ
from germ import recording
from germ.tree import dot
from germ.calibrate import calibrate
from germ.samplers import LeimkuhlerMatthews
from benchmarks.nets import NETS
CUR={}
orig=recording.Recorder.look
def look(self, ev, state):
    seen=orig(self,ev,state)
    prod=ev.displacement.double()*ev.grad.double()
    D=CUR['D']; g=self.posterior.localization
    seen['cvD']=(prod-1)@(D.double()*0+ (1-g*D.double()).clamp(min=0))   # sum_i (1-gD_i)(v_i-1)
    seen['cvG']=(prod-1)@(g*D.double()).clamp(max=1)
    off=0
    for k,n in enumerate(CUR['sizes']):
        seen[f'cvT{k}']=(prod[:,off:off+n]-1).sum(1); off+=n
    return seen
recording.Recorder.look=look
def regress(y,X):
    # pooled within-chain slopes
    yc=y-y.mean(1,keepdims=True); Xc=X-X.mean(1,keepdims=True)
    A=Xc.reshape(-1,X.shape[-1]); b=yc.reshape(-1)
    c,*_=np.linalg.lstsq(A,b,rcond=None)
    return c, (y-X@c)
from germ.diagnostics import average
ref=json.load(open('/tmp/bench-tree/benchmarks/results/lessons.json'))['nets']
def report(tag, s, exact, nbeta, nT):
    y=nbeta*s.loss_difference.values
    g=lambda *n: np.stack([s[k].values for k in n],-1)
    out=[f"{tag:34s} exact {exact:7.2f} plain {y.mean():7.2f} ({y.mean()/exact-1:+.1%}) vir {float(s.virial.mean()):.3f}"]
    fixed=y-0.5*g('cvD')[...,0]
    a=average(fixed,shared_batches=True); out.append(f"fixedM {a.mean:7.2f}±{a.standard_error:.2f} ({a.mean/exact-1:+.1%})")
    for name,cols in {'I':['cvD','cvG'][:0]+['cvI'],'D':['cvD'],'D+G':['cvD','cvG'],'T':[f'cvT{k}' for k in range(nT)],'T+D':[f'cvT{k}' for k in range(nT)]+['cvD']}.items():
        X=g(*cols) if cols!=['cvI'] else (g('cvD')+g('cvG'))
        c,r=regress(y,X); a=average(r,shared_batches=True)
        out.append(f"{name} {a.mean:7.2f}±{a.standard_error:.2f} ({a.mean/exact-1:+.1%}) c={np.round(c,2)[:4]}")
    a=average(y,shared_batches=True)
    print(out[0]+f" ±{a.standard_error:.2f}"); [print('      '+o) for o in out[1:]]
    sys.stdout.flush()
for net,r in zip(NETS,ref):
    exact=r['reference']['value']
    post,_=net.posteriors()
    CUR['sizes']=[p.numel() for p in post.model.parameters()]
    nT=len(CUR['sizes'])
    print(net.name, r['reference']['value'], r['reference']['error'])
    cal=calibrate(post,batch_size=2048,seed=0,num_steps=1500)
    D=cal.sampler.preconditioner.scale; CUR['D']=D
    for tag,eps,B,warm,draws in [('auto',cal.sampler.step_size,2048,500,1000),('hot: 4x step, B500',4*cal.sampler.step_size,500,300,600),('short warmup 30, draws 300',cal.sampler.step_size,2048,30,300)]:
        s=germ.sample(post,LeimkuhlerMatthews(min(eps,0.5),cal.sampler.preconditioner),chains=4,draws=draws,warmup=warm,batch_size=B,seed=1,throw=False)
        report(f"{tag} eps {min(eps,.5):.3f}",s,exact,post.nbeta,nT)
